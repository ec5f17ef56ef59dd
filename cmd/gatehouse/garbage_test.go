package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"gatehouse/testbench"
)

// eligible returns the lines of a garbage-collect that say what it would delete, sorted.
func eligible(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "eligible for deletion: ") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(lines)
	return lines
}

// fillWithGarbage pushes images of which some are removed again, and what distribution's collector is right about only.
func fillWithGarbage(p *peer) {
	p.blob("team/app", digest.FromString("base"), []byte("base")) // no manifest names it
	for i := range 6 {
		p.image("team/app", fmt.Sprint("app ", i), "", fmt.Sprint("v", i))
		p.image("team", fmt.Sprint("app ", i), "", fmt.Sprint("v", i))
	}
	for _, gone := range []string{"v1", "v3"} {
		p.remove("team/app", p.tags["team/app:"+gone])
	}
	p.remove("team", p.tags["team:v3"])
	p.image("team/app", "new", "", "v0") // v0 moves: the manifest before has no tag
	child := p.image("team/app", "child", "")
	p.manifest("team/app", ociIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":"amd64","os":"linux"}}]}`,
		ociIndex, ociManifest, child, len(p.manifests["team/app@"+string(child)])), "multi")
	p.image("team/app", "untagged", "")
}

// TestGarbageCollectAsDistribution lists garbage of a tree that registry 3.1.2 wrote, with and without -m: the same lines that its own
// garbage-collect prints. But what one repository needs distribution keeps in all of them, the links and manifests that is: their
// bytes stay in either case. Collected then, with nobody serving, the tree has nothing eligible left, and all serve the rest.
func TestGarbageCollectAsDistribution(t *testing.T) {
	for _, flag := range []string{"--delete-untagged=false", "--delete-untagged"} {
		t.Run(flag, func(t *testing.T) {
			root, x := t.TempDir(), expectNothing()
			config := gatehouseConfig(t, root)
			three := testbench.StartRegistry3(t, root)
			p := &peer{t: t, name: "registry 3.1", url: three.URL, expectation: x}
			fillWithGarbage(p)
			three.Kill()
			theirs := garbageCollect(t, testbench.Tool(t, "registry"), flag, "--dry-run", config)
			ours := garbageCollect(t, "", flag, "--dry-run", config)
			compareGarbage(t, flag, ours, theirs)
			before := treeFiles(t, root)

			if got := garbageCollect(t, "", flag, config); got != ours {
				t.Errorf("without --dry-run\n%s\nwith it\n%s", got, ours)
			}
			for _, path := range before {
				eligible := strings.Contains(theirs, "\nblob eligible for deletion: sha256:"+filepath.Base(filepath.Dir(path)))
				if strings.Contains(path, "/docker/registry/v2/blobs/") && fileExists(path) == eligible {
					t.Errorf("%s is there: %v", path, !eligible)
				}
			}
			for name, out := range map[string]string{"ours": garbageCollect(t, "", flag, config), "theirs": garbageCollect(t, testbench.Tool(t, "registry"), flag, "--dry-run", config)} {
				if list := eligible(out); len(list) > 0 {
					t.Errorf("%s, again: %q", name, list)
				}
			}
			if out := garbageCollect(t, "", flag, "--quiet", config); out != "" {
				t.Errorf("quiet: %q", out)
			}
		})
	}
}

// garbageCollect runs a program's garbage-collect, gatehouse's for "", and returns its standard output.
func garbageCollect(t *testing.T, program string, args ...string) string {
	t.Helper()
	if program == "" {
		var err error
		program, err = built()
		fatal(t, err)
	}
	cmd := exec.Command(program, append([]string{"garbage-collect"}, args...)...)
	cmd.Env = append(cmd.Environ(), "OTEL_TRACES_EXPORTER=none")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%s garbage-collect %q: %v\n%s", program, args, err, exit.Stderr)
	}
	fatal(t, err)
	return string(out)
}

// compareGarbage compares two outputs line by line, where they can be alike.
func compareGarbage(t *testing.T, flag, ours, theirs string) {
	t.Helper()
	ours = string(elsewhere.ReplaceAllFunc([]byte(ours), func(line []byte) []byte {
		if d := elsewhere.FindSubmatch(line)[1]; strings.Contains(theirs, ": marking manifest "+string(d)) || strings.Contains(theirs, ": marking blob "+string(d)) {
			return nil
		}
		return line
	}))
	got, want := eligible(ours), eligible(theirs)
	if !slices.Equal(got, want) || len(want) < 6 {
		t.Errorf("eligible\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	summary := regexp.MustCompile(`\n\n\d+ blobs marked, \d+ blobs and `)
	if s := summary.FindString(theirs); s == "" || summary.FindString(ours) != s {
		t.Errorf("summary %q, want %q", summary.FindString(ours), s)
	}
	if a, b := lines(ours), lines(theirs); flag != "--delete-untagged" && !slices.Equal(a, b) { // else it calls children blobs
		t.Errorf("all lines\n%s\nwant\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

// elsewhere are lines about what goes from a repository, whose bytes another may need.
var elsewhere = regexp.MustCompile(`(?m)^(?:\S+: layer link|manifest) eligible for deletion: (?:\{\S+ )?(sha256:[0-9a-f]+).*\n`)

func lines(s string) []string {
	list := strings.Split(s, "\n")
	slices.Sort(list)
	return slices.Compact(list)
}

// treeFiles returns the paths of all files of distribution's tree.
func treeFiles(t testing.TB, root string) (paths []string) {
	t.Helper()
	fatal(t, filepath.WalkDir(filepath.Join(root, "docker"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}
