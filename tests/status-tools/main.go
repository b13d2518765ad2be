// What Flux and Argo CD make of objects: one JSON object a line on stdin, one line of JSON about each on stdout.
// Flux uses kstatus (its fork of cli-utils leaves this package as it is). Argo CD runs the script of its ConfigMap, here the
// file that is named as argument, in gopher-lua, and opens these libraries only.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	script, err := os.ReadFile(os.Args[1])
	must(err)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		must(object.UnmarshalJSON(lines.Bytes()))
		result, err := status.Compute(object)
		must(err)
		health, message, err := argoCD(object.Object, string(script))
		must(err)
		line, err := json.Marshal(map[string]string{
			"kstatus": result.Status.String(), "kstatusMessage": result.Message, "health": health, "healthMessage": message,
		})
		must(err)
		fmt.Println(string(line))
	}
	must(lines.Err())
}

func argoCD(object map[string]any, script string) (string, string, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	l.SetContext(limit)
	l.SetGlobal("obj", value(l, object))
	if err := l.DoString(script); err != nil {
		return "", "", err
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the script returns %s, not a table", l.Get(-1).Type())
	}
	message, ok := table.RawGetString("message").(lua.LString)
	if !ok && table.RawGetString("message") != lua.LNil {
		return "", "", fmt.Errorf("the message is no text")
	}
	return lua.LVAsString(table.RawGetString("status")), string(message), nil
}

func value(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(value(l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, value(l, item))
		}
		return table
	}
	return lua.LNil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
