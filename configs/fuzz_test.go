package configs

import (
	"flag"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

// FuzzParse: no file and no variable makes Parse panic, return a configuration beside an error, or show a secret.
func FuzzParse(f *testing.F) {
	f.Add([]byte(quiet), "HTTP_ADDR", ":5000", "hunter2")
	f.Add([]byte("version: 0.1\nstorage: {s3: {}}\nhttp: {tls: {clientcas: [x]}}"), "STORAGE", "{inmemory: }", "*hunter2")
	f.Add([]byte("a: &a [*a]\n<<: {b: *a}\n? [x]\n: y"), "TOKENSERVER_ACCESS_0_ACTIONS_0", "pull", "{a: [")
	f.Add([]byte("storage: filesystem\nauth: none"), "STORAGE_FILESYSTEM_ROOTDIRECTORY", "/x", "!!binary aa")
	f.Add([]byte("notifications: {endpoints: [{disabled: yes}]}"), "NOTIFICATIONS_ENDPOINTS_0_URL", "x", "'\"")
	f.Add([]byte("{version: 0.1, loglevel: info, log: []}"), "LOGLEVEL", "debug", "a\n b: c")
	f.Fuzz(func(t *testing.T, data []byte, name, value, secret string) {
		const mark = "qQ7zK4"
		if strings.Contains(string(data)+name+value, mark) {
			t.Skip()
		}
		silent := func(c *Config, warnings []Warning, err error) {
			if (c == nil) != (err != nil) {
				t.Errorf("configuration %v beside error %v", c, err)
			}
			text := outcome(warnings, err) + fmt.Sprintf("%v %+v %#v", c, c, c)
			if c != nil {
				text += slog.AnyValue(c.HTTP.Secret).Resolve().String()
			}
			if strings.Contains(text, mark) {
				t.Errorf("the secret is shown: %q", text)
			}
		}
		variable := "REGISTRY_" + name + "=" + value
		hidden := "REGISTRY_HTTP_SECRET=" + oneLine(secret) + mark
		c, warnings, err := Parse("config.yml", data, []string{variable})
		silent(c, warnings, err)
		again, _, _ := Parse("config.yml", data, []string{variable})
		if !reflect.DeepEqual(c, again) {
			t.Errorf("read twice: %+v and %+v", c, again)
		}
		if name != "HTTP_SECRET" {
			silent(Parse("config.yml", data, []string{variable, hidden}))
		}
		silent(Parse("config.yml", []byte(base+"http:\n  secret: "+oneLine(secret)+mark+"\n"), []string{variable}))
		silent(Default("data", []string{variable, hidden}))
	})
}

// oneLine keeps a value from being more than the value of its key.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}
