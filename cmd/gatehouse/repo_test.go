package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// forget takes a repository out of what must be served: all of it must be gone.
func (x *expectation) forget(repo string) {
	for name := range maps.Clone(x.tags) {
		if tag, ok := strings.CutPrefix(name, repo+":"); ok {
			delete(x.tags, name)
			x.gone[repo+"/manifests/"+tag] = true
		}
	}
	for name := range maps.Clone(x.manifests) {
		if d, ok := strings.CutPrefix(name, repo+"@"); ok {
			delete(x.manifests, name)
			x.gone[repo+"/manifests/"+d] = true
		}
	}
	for name := range maps.Clone(x.blobs) {
		if d, ok := strings.CutPrefix(name, repo+"@"); ok {
			delete(x.blobs, name)
			x.gone[repo+"/blobs/"+d] = true
		}
	}
}

// catalog returns what a registry lists.
func (p *peer) catalog() []string {
	p.t.Helper()
	_, b := p.send(200, "GET", "/v2/_catalog", nil)
	var list struct{ Repositories []string }
	fatal(p.t, json.Unmarshal(b, &list))
	return list.Repositories
}

// TestRemovedRepositoryIsGone removes a repository that lies in another one: with a server, and without one. Distribution's
// registries, started on the tree then, neither list nor serve it, and all else is there.
func TestRemovedRepositoryIsGone(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("server=%v", running), func(t *testing.T) {
			root, x := t.TempDir(), expectNothing()
			config := gatehouseConfig(t, root)
			p, stop := x.openGatehouse(t, config)
			p.fill()
			p.image("another", "ninth", "", "v1")
			if !running {
				stop()
			}
			want := fmt.Sprintf("team/app: %d tags, %d manifests, ", len(tagsOf(x, "team/app")), manifestsOf(x, "team/app"))
			if out := verb(t, 0, "repo", "rm", "team/app", "--dry-run", "--config", config); !strings.Contains(out, want) {
				t.Errorf("dry run: %s, want %q", out, want)
			}
			if out := verb(t, 0, "repo", "rm", "team/app", "--yes", "--config", config); !strings.Contains(out, want) {
				t.Errorf("rm: %s, want %q", out, want)
			}
			x.forget("team/app")
			if running {
				p.check()
				stop()
			}
			catalog := []string{"another", "team"}
			for _, start := range []func(testing.TB, string) *testbench.Distribution{testbench.StartRegistry3, testbench.StartRegistry2} {
				incumbent := start(t, root)
				p = &peer{t: t, name: "distribution", url: incumbent.URL, expectation: x}
				p.check()
				if got := p.catalog(); !slices.Equal(got, catalog) {
					t.Errorf("catalog %q, want %q", got, catalog)
				}
				p.send(404, "GET", "/v2/team/app/tags/list", nil)
				incumbent.Kill()
			}
			if out := verb(t, 0, "fsck", "--digests", config); !strings.Contains(out, "\n0 defects") {
				t.Errorf("fsck: %s", out)
			}
			verb(t, 0, "adopt", "--again", config)
			p, stop = x.openGatehouse(t, config)
			p.check()
			if got := p.catalog(); !slices.Equal(got, catalog) {
				t.Errorf("catalog %q, want %q", got, catalog)
			}
			clear(x.gone)
			p.image("team/app", "first", "", "v1") // it can be pushed again
			p.check()
			stop()
		})
	}
}

func tagsOf(x *expectation, repo string) (tags []string) {
	for name := range x.tags {
		if strings.HasPrefix(name, repo+":") {
			tags = append(tags, name)
		}
	}
	return tags
}

func manifestsOf(x *expectation, repo string) (n int) {
	for name := range x.manifests {
		if strings.HasPrefix(name, repo+"@") {
			n++
		}
	}
	return n
}

// TestTagHistory pushes a tag twice, removes it with a verb while the server runs and once more when it has stopped: its history
// says when and who, in the table and as JSON.
func TestTagHistory(t *testing.T) {
	i := start(t, "REGISTRY_STORAGE_DELETE_ENABLED=false", "REGISTRY_LOG_LEVEL=info")
	push := func(content string, tags ...string) string {
		i.pushBlob("team/app", []byte(content))
		m := manifestOf([]byte(content))
		for _, tag := range tags {
			i.want(201, "PUT", "/v2/team/app/manifests/"+tag, bytes.NewReader(m), "Content-Type: "+ociManifest)
		}
		answer, _ := i.want(200, "HEAD", "/v2/team/app/manifests/"+tags[0], nil, "Accept: "+ociManifest)
		return answer.Header.Get("Docker-Content-Digest")
	}
	one, two := push("one", "v1", "v2"), push("two", "v1")
	i.want(405, "DELETE", "/v2/team/app/manifests/v1", nil) // storage.delete is off, for clients
	verb(t, 0, "tag", "rm", "team/app:v1", "--data", i.data)
	fatal(t, i.Stop())
	verb(t, 0, "tag", "rm", "team/app:v2", "--data", i.data)

	want := []string{"v1 alice " + one, "v1 alice " + two, "v1 unix:USER (deleted)", "v2 alice " + one, "v2 unix:USER (deleted)"}
	line := regexp.MustCompile(`(?m)^(\S+) +(\d{4}-\S+Z) +(\S+) +(\S+)$`)
	var got []string
	for _, m := range line.FindAllStringSubmatch(verb(t, 0, "tag", "history", "team/app", "--data", i.data), -1) {
		got = append(got, m[1]+" "+regexp.MustCompile(`^unix:.+`).ReplaceAllString(m[3], "unix:USER")+" "+m[4])
	}
	if !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
	var last struct{ Tag, To, From, By string }
	lines := strings.Split(strings.TrimSpace(verb(t, 0, "tag", "history", "team/app:v1", "--json", "--data", i.data)), "\n")
	fatal(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if len(lines) != 3 || last.Tag != "v1" || last.To != "" || last.From != two || !strings.HasPrefix(last.By, "unix:") {
		t.Errorf("as JSON: %q", lines)
	}
	if !strings.Contains(i.Output(), `path=/v1/repositories/team%2Fapp/untag status=200`) || !strings.Contains(i.Output(), "tags=[v1] dryrun=false") {
		t.Errorf("the log does not say who removed the tag:\n%s", i.Output())
	}
}

// TestAdoptionOfARunningServer asks a server that cannot read a part of the tree how far it is, and again when it can.
func TestAdoptionOfARunningServer(t *testing.T) {
	root, x := t.TempDir(), expectNothing()
	two := testbench.StartRegistry2(t, root)
	p := &peer{t: t, name: "registry 2.8", url: two.URL, expectation: x}
	p.image("a", "first", "", "v1")
	p.image("b", "second", "", "v1")
	two.Kill()
	tags := filepath.Join(root, "docker/registry/v2/repositories/b/_manifests/tags/v1")
	link, aside := filepath.Join(tags, "current", "link"), filepath.Join(root, "aside")
	fatal(t, os.Rename(link, aside))
	fatal(t, os.Symlink("/etc/hostname", link)) // storage that fails: what leads out of the root is never followed
	config := gatehouseConfig(t, root)
	_, stop := x.openGatehouse(t, config)
	var out string
	testbench.Eventually(t, time.Minute, "the adoption has failed", func() error {
		out = verb(t, 0, "adopt", "--status", config)
		if !strings.Contains(out, "could not be read and is tried again: ") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if !strings.Contains(out, "read: 1 repositories of 2\n") {
		t.Errorf("status: %s", out)
	}
	if out := verb(t, 0, "repo", "ls", "--config", config); !strings.Contains(out, "repositories may be missing here") {
		t.Errorf("list: %s", out)
	}
	stop()
	fatal(t, os.Rename(aside, link))
	p, stop = x.openGatehouse(t, config)
	defer stop()
	testbench.Eventually(t, time.Minute, "the adoption is done", func() error {
		if out = verb(t, 0, "adopt", "--status", config); !strings.Contains(out, "adoption: done since") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	p.check()
}
