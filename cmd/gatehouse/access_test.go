package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/tokenserver"
	"gatehouse/tokenserver/access"
)

// TestExplainOwnScope: an account with a scope of its own is explained by that, and not by the rules.
func TestExplainOwnScope(t *testing.T) {
	scope, err := access.NewScope("robot ci", []access.Grant{{Repository: "team/*", Actions: []string{"pull"}}, {Repository: "**", Actions: []string{"catalog"}}})
	if err != nil {
		t.Fatal(err)
	}
	identify := func(_ context.Context, cfg *configs.Config, account string) (tokenserver.Identity, error) {
		switch {
		case cfg == nil || account == "lost":
			return tokenserver.Identity{}, errors.New("the folder of robots cannot be read")
		case account == "robot$ci":
			return tokenserver.Identity{Account: account, Own: scope}, nil
		}
		return tokenserver.Identity{Account: account, Groups: []string{"admins"}}, nil
	}
	for _, tt := range []struct {
		args, verdict string
		allowed       bool
		rule          string
	}{
		{"robot$ci team/app pull", "robot$ci may pull team/app", true, "robot ci"},
		{"robot$ci team/app push", "robot$ci may not push to team/app", false, "robot ci"},
		{"robot$ci ** catalog", "robot$ci may list the repositories", true, "robot ci"},
		{"alice team/app push", "alice may push to team/app", true, "tokenserver.access[0]"},
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			p := &program{stdout: &out, stderr: &out, environ: []string{
				`REGISTRY_TOKENSERVER_ACCESS=[{group: admins, repository: "**", actions: ["*"]}]`}, data: t.TempDir()}
			verb := p.accessExplainVerb(identify)
			args := strings.Fields(tt.args)
			if asJSON {
				args = append(args, "--json")
			}
			verb.SetArgs(args)
			if err := verb.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !asJSON {
				if got := out.String(); !strings.HasPrefix(got, tt.verdict+"\n") || !strings.Contains(got, "→ "+tt.rule+" decides") {
					t.Errorf("%s: %s", tt.args, got)
				}
				continue
			}
			var v verdict
			if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Allowed != tt.allowed || v.Rule == nil || v.Rule.Name != tt.rule {
				t.Errorf("%s: %s %v", tt.args, out.Bytes(), err)
			}
		}
	}
	p := &program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), data: t.TempDir()}
	verb := p.accessExplainVerb(identify)
	verb.SetArgs([]string{"lost", "a"})
	verb.SilenceErrors, verb.SilenceUsage = true, true
	if err := verb.ExecuteContext(t.Context()); err == nil {
		t.Error("an account that could not be looked up was explained")
	}
}
