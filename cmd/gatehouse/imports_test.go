package main

import (
	"os/exec"
	"strings"
	"testing"
)

// bans is the direction in which packages may import each other, with the reason for each line. "x/..." is x and all below it.
var bans = []struct{ from, to, why string }{
	{"configs/...", "gatehouse/...", "everything may import configs, so it imports nothing of ours"},
	{"durable", "gatehouse/...", "it writes files and knows nothing of what they mean"},
	{"zaplog", "gatehouse/...", "it turns one kind of log into another and knows nothing of who writes it"},
	{"tokenserver/token", "gatehouse/...", "it is what a foreign issuer or a foreign registry shares with us"},
	{"tokenserver/trust", "gatehouse/tokenserver", "it believes an issuer that is not ours; it does not know how we issue"},
	{"tokenserver/trust", "gatehouse/configs/...", "it takes values, so that it does not care where they are configured"},
	{"tokenserver/...", "gatehouse/registry/...", "the token server must work for a registry that is not ours"},
	{"tokenserver/...", "gatehouse/gateway", "the token server is a handler; it does not know who calls it"},
	{"tokenserver/keyring", "gatehouse/tokenserver", "it keeps keys, and knows nothing of who gets a token"},
	{"admin", "gatehouse/registry", "it administers names that are stored; it serves no client of the registry"},
	{"admin", "gatehouse/gateway", "the socket is a door of its own, with its own authentication"},
	{"admin", "gatehouse/tokenserver/...", "who may open the socket needs no token"},
	{"admin", "gatehouse/configs/...", "it takes values, so that it does not care where they are configured"},
	{"registry/...", "gatehouse/admin", "the registry does not know who administers it"},
	{"gateway", "gatehouse/admin", "the gateway is for clients; administrators come by the socket"},
	{"tokenserver/...", "gatehouse/admin", "the token server is a handler; it does not know who administers it"},
	{"registry", "gatehouse/tokenserver", "the registry must believe an issuer that is not ours; it knows tokens, not who makes them"},
	{"registry/...", "gatehouse/gateway", "the registry is a handler; it does not know who calls it"},
	{"registry/...", "gatehouse/configs/...", "the registry takes values, so that it does not care where they are configured"},
	{"registry/...", "gatehouse/certs", "TLS ends in the gateway"},
	{"gateway", "gatehouse/registry/...", "the gateway knows handlers, so that a foreign registry can stand behind it"},
	{"gateway", "gatehouse/tokenserver/...", "the gateway knows handlers, so that a foreign token server can stand behind it"},
	{"registry/adopt", "gatehouse/registry", "adoption fills the index; it serves nobody"},
	{"registry/gc", "gatehouse/registry", "the collector deletes what the index says; it serves nobody"},
	{"registry/gc", "gatehouse/registry/adopt", "the collector goes by the index; whoever starts it sees to it that the tree is in it"},
	{"registry/index/...", "gatehouse/registry/gc", "the index says what nothing needs; when something is done about it is not its business"},
	{"registry/store", "gatehouse/registry/gc", "the store deletes what it is told to"},
	{"registry/fsck", "gatehouse/registry", "fsck compares what is stored; it serves nobody"},
	{"certs", "gatehouse/gateway", "the gateway serves certificates; where they come from does not depend on it"},
	{"certs", "gatehouse/registry/...", "certificates have nothing to do with images"},
	{"registry/driver/...", "gatehouse/registry/index/...", "a driver keeps bytes and knows no names"},
	{"registry/driver/...", "gatehouse/registry/store", "a driver lies below the store"},
	{"registry/index/...", "gatehouse/registry/driver/...", "the index keeps names and touches no bytes"},
	{"registry/index/...", "gatehouse/registry/store", "the index keeps names and touches no bytes"},
	{"registry/index/kv/...", "gatehouse/registry/index", "a key-value store knows nothing of what is kept in it"},
	{"registry/store", "gatehouse/registry/index/...", "the store keeps bytes and knows no names"},
}

// exceptions are the imports that a ban's pattern covers and its reason does not.
var exceptions = map[string]string{
	"gatehouse/configs/etcd → gatehouse/configs": "the source of values imports the values",
	"gatehouse/configs/etcd → gatehouse/zaplog":  "etcd's client logs through zap",
	"gatehouse/configs/etcd → gatehouse/durable": "the last good value is kept on disk",
}

func TestImportDirection(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "gatehouse/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	edges := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := fields[0]
		for _, to := range fields[1:] {
			if !strings.HasPrefix(to, "gatehouse/") {
				continue
			}
			edges++
			if to == "gatehouse/testbench" {
				t.Errorf("%s imports testbench: it is for tests only", from)
			}
			for _, b := range bans {
				if matches("gatehouse/"+b.from, from) && matches(b.to, to) && exceptions[from+" → "+to] == "" {
					t.Errorf("%s imports %s: %s", from, to, b.why)
				}
			}
		}
	}
	if edges < 20 {
		t.Errorf("only %d imports of ours were looked at: is the list of packages right?", edges)
	}
}

func matches(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}
