package etcd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
)

func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "lastgood", "auth.json")
	saved := record{Key: testKey, Revision: 7, Saved: time.Unix(1700000000, 0).UTC(), Value: firstValue}
	if err := saveRecord(path, saved); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
	got, token, err := loadRecord(path, testKey)
	saved.SHA256 = got.SHA256
	if err != nil || got != saved || token != firstToken {
		t.Errorf("got %+v, %+v, %v; want %+v", got, token, err, saved)
	}
	if _, _, err := loadRecord(filepath.Join(t.TempDir(), "none"), testKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error of a missing file is %v", err)
	}
}

// A file that is not exactly what was saved for this key is not believed: New reports it and leaves the value empty.
func TestBadRecord(t *testing.T) {
	write := func(r record) string {
		path := filepath.Join(t.TempDir(), "auth.json")
		if err := saveRecord(path, r); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	good := write(record{Key: testKey, Revision: 7, Value: firstValue})
	for name, test := range map[string]struct{ content, want string }{
		"empty":        {"", "could not read"},
		"torn":         {good[:len(good)/2], "could not read"},
		"zeros":        {strings.Repeat("\x00", len(good)), "could not read"},
		"edited":       {strings.Replace(good, "console.example.com", "console.example.org", 1), "checksum"},
		"revision":     {strings.Replace(good, "7", "8", 1), "checksum"},
		"no checksum":  {`{"key":"` + testKey + `","value":"{}"}`, "checksum"},
		"another key":  {write(record{Key: "/other/auth/registry", Revision: 7, Value: firstValue}), "another"},
		"broken value": {write(record{Key: testKey, Revision: 7, Value: `{"realm":""}`}), "realm: empty"},
		"huge":         {good + strings.Repeat(" ", 8*maxValue), ""},
	} {
		path := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "another key" {
			test.want = "it is for the key"
		}
		var auth configs.Value[configs.Token]
		s, err := New(Options{Endpoints: []string{"127.0.0.1:1"}, Prefix: testPrefix, LastGoodFile: path}, &auth)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if test.want == "" { // what follows the record is white space, and is cut off
			if auth.Load() == nil || *auth.Load() != firstToken {
				t.Errorf("%s: got %+v", name, auth.Load())
			}
			continue
		}
		st := s.Status()
		if auth.Load() != nil || st.State != Waiting || st.Err == nil || !strings.Contains(st.Err.Error(), test.want) {
			t.Errorf("%s: got %+v, status %+v; want an error with %q", name, auth.Load(), st, test.want)
		}
	}
}
