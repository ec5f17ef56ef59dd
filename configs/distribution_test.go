package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// with adds one key to a configuration that needs no warning.
func with(path, value string) string {
	text, indent := "version: 0.1\n", ""
	sections := map[string]string{
		"storage":     "  inmemory: {}\n",
		"auth":        "  htpasswd: {path: /users}\n",
		"tokenserver": "  access: [{account: a, repository: \"**\", actions: [\"*\"]}]\n",
		"http":        "  addr: 127.0.0.1:5000\n",
	}
	if path == "storage.filesystem.maxthreads" {
		sections["storage"] = ""
	}
	parts := strings.Split(path, ".")
	for name, body := range sections {
		if name != parts[0] {
			text += name + ":\n" + body
		}
	}
	for i, part := range parts {
		text += indent + part + ":"
		if i < len(parts)-1 {
			text += "\n"
		}
		if i == 0 && len(parts) > 1 {
			text += sections[part]
		}
		indent += "  "
	}
	return text + " " + value + "\n"
}

// Every key of distribution's is treated as its table says, and the file is told where it stands.
func TestForeignKeys(t *testing.T) {
	for _, f := range foreignKeys {
		if f.path == "loglevel" || f.path == "auth.none" {
			continue // TestForms
		}
		path := f.path
		want := ""
		switch f.treat {
		case ignored:
			want = "warning config.yml: " + path + ": known to distribution, no effect here"
		case refused, always:
			want = "error config.yml: " + path + ": "
		}
		for _, value := range []string{"[x]", "{x: y}", "x"} {
			_, warnings, err := Parse("config.yml", []byte(with(path, value)), nil)
			got := outcome(warnings, err)
			if strings.Count(got, "\n") > 1 || (got == "") != (want == "") || !strings.HasPrefix(withoutLines(got), want) {
				t.Errorf("%s: %s: got %q, want %q", path, value, got, want)
			}
		}
		for _, value := range append([]string{"", "''", "{}", "[]", "[{disabled: yes, x: y}]"}, f.fine...) {
			_, warnings, err := Parse("config.yml", []byte(with(path, value)), nil)
			if got := outcome(warnings, err); (got == "") != (f.treat != always) {
				t.Errorf("%s: %q asks for nothing: got %q", path, value, got)
			}
		}
	}
}

// withoutLines takes the line out of "config.yml:5:".
func withoutLines(text string) string {
	before, after, _ := strings.Cut(text, "config.yml:")
	if digits, rest, ok := strings.Cut(after, ": "); ok && strings.Trim(digits, "0123456789") == "" && digits != "" {
		return before + "config.yml: " + rest
	}
	return text
}

// What distribution reads as true or false is read so here, before anything is said to ask for nothing.
func TestTruthOfForeignKeys(t *testing.T) {
	const path = "http.h2c.enabled"
	for value, warned := range map[string]bool{
		"true": true, "yes": true, "On": true, `"true"`: true, "1": true, "maybe": true, "[false]": true, "false": false, "No": false, "OFF": false, "~": false,
	} {
		if _, warnings, err := Parse("config.yml", []byte(with(path, value)), nil); err != nil || (len(warnings) > 0) != warned {
			t.Errorf("%s: %s: warnings %v, error %v", path, value, warnings, err)
		}
	}
}

func TestUnknownKeysOfForeignSections(t *testing.T) {
	for _, text := range []string{"http: {http2: {disable: true}}", "storage: {maintenance: {readonly: true}}", "proxy: {remoteurls: x}", "validation: [x]"} {
		if _, _, err := Parse("config.yml", []byte("version: 0.1\n"+text), nil); err == nil {
			t.Errorf("%s: passed", text)
		}
	}
}

// The files that come with distribution's images, and what LAIN's registry started with.
func TestIncumbentsFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/incumbent/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		_, warnings, err := Load(file, nil)
		got := strings.ReplaceAll(outcome(warnings, err), file, filepath.Base(file))
		golden := strings.TrimSuffix(file, ".yml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%swant\n%s", file, got, want)
		}
	}
}
