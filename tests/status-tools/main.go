// What Flux and Argo CD make of objects, by what they use themselves: Flux the kstatus of its cli-utils, Argo CD its settings, its Lua and
// its health. On stdin there are the data of Argo CD's ConfigMap, and then objects, all as JSON; on stdout, a line of JSON about each object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
)

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var data map[string]string
	must(in.Decode(&data))
	overrides, err := overrides(data)
	must(err)
	for {
		var text json.RawMessage
		err := in.Decode(&text)
		if errors.Is(err, io.EOF) {
			return
		}
		must(err)
		object := &unstructured.Unstructured{}
		must(object.UnmarshalJSON(text))
		flux, err := status.Compute(object)
		must(err)
		argo, err := health.GetResourceHealth(object, overrides)
		must(err)
		if argo == nil {
			log.Fatalf("Argo CD has no health of %s", object.GroupVersionKind())
		}
		must(out.Encode(map[string]string{
			"kstatus": flux.Status.String(), "kstatusMessage": flux.Message, "health": string(argo.Status), "healthMessage": argo.Message,
		}))
	}
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
