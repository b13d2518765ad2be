// What Flux and Argo CD make of objects, by what they use themselves.
//
//	status-tools                           Flux: the kstatus of its cli-utils; Argo CD: its settings, its Lua and its health. On stdin
//	                                       there are the data of Argo CD's ConfigMap, and then objects, all as JSON; on stdout, a line of
//	                                       JSON about each object.
//	status-tools alerts                    Whether Flux' own types have every field of the Alerts and Providers on stdin, as JSON.
//	status-tools notifications [flag ...]  Argo CD's notifications controller, with its flags.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	notifications "github.com/argoproj/argo-cd/v3/cmd/argocd-notification/commands"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	flux "github.com/fluxcd/notification-controller/api/v1beta3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
)

func main() {
	if len(os.Args) == 1 {
		views()
		return
	}
	switch os.Args[1] {
	case "alerts":
		alerts()
	case "notifications":
		command := notifications.NewCommand()
		command.SetArgs(os.Args[2:])
		must(command.Execute())
	default:
		log.Fatalf("unknown: %s", os.Args[1])
	}
}

func views() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var data map[string]string
	must(in.Decode(&data))
	overrides, err := overrides(data)
	must(err)
	for {
		text, more := next(in)
		if !more {
			return
		}
		object := &unstructured.Unstructured{}
		must(object.UnmarshalJSON(text))
		kstatus, err := status.Compute(object)
		must(err)
		argo, err := health.GetResourceHealth(object, overrides)
		must(err)
		if argo == nil {
			log.Fatalf("Argo CD has no health of %s", object.GroupVersionKind())
		}
		must(out.Encode(map[string]string{
			"kstatus": kstatus.Status.String(), "kstatusMessage": kstatus.Message, "health": string(argo.Status), "healthMessage": argo.Message,
		}))
	}
}

func alerts() {
	in := json.NewDecoder(os.Stdin)
	kinds := map[string]any{flux.AlertKind: &flux.Alert{}, flux.ProviderKind: &flux.Provider{}}
	for {
		text, more := next(in)
		if !more {
			return
		}
		var kind metav1.TypeMeta
		must(json.Unmarshal(text, &kind))
		if kind.APIVersion != flux.GroupVersion.String() || kinds[kind.Kind] == nil {
			log.Fatalf("not of Flux' notifications: %s %s", kind.APIVersion, kind.Kind)
		}
		strictly := json.NewDecoder(bytes.NewReader(text))
		strictly.DisallowUnknownFields()
		must(strictly.Decode(kinds[kind.Kind]))
	}
}

// The next value, as it is. False: there is none.
func next(in *json.Decoder) (json.RawMessage, bool) {
	var text json.RawMessage
	err := in.Decode(&text)
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	must(err)
	return text, true
}

// As Argo CD reads them from its namespace.
func overrides(data map[string]string) (lua.ResourceHealthOverrides, error) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "argocd", Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "argocd"}}
	}
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: meta("argocd-cm"), Data: data},
		&corev1.Secret{ObjectMeta: meta("argocd-secret")},
	)
	return settings.NewSettingsManager(context.Background(), client, "argocd").GetResourceOverrides()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
