// Package drivertest is the contract of driver.Driver as tests, which each driver runs, and what tests of the layers above need
// of a driver: one that counts (Counter) and one that fails when told to (Faults).
package drivertest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"gatehouse/registry/driver"
)

// Run tests the driver that open opens, empty each time. Run closes it.
func Run(t *testing.T, open func(t *testing.T) driver.Driver) {
	tests := map[string]func(*testing.T, driver.Driver){
		"an empty driver":                 emptyDriver,
		"folders":                         folders,
		"files and folders are not mixed": notMixed,
		"paths":                           paths,
		"a context that is done":          contextDone,
		"what was returned outlives ctx":  outlivesContext,
		"closed":                          closed,
		"read":                            read,
		"an open file stays as it was":    openFileStays,
		"read at once":                    readAtOnce,
		"write":                           write,
		"readers see whole files":         wholeFiles,
		"append":                          appends,
		"append elsewhere":                appendElsewhere,
		"empty files":                     emptyFiles,
		"the end of a writer":             writerEnds,
		"large files":                     largeFiles,
		"append at once":                  appendAtOnce,
		"stat":                            stat,
		"move":                            move,
		"move replaces":                   moveReplaces,
		"move at once":                    moveAtOnce,
		"move away at once":               moveAway,
		"folders that empty and fill":     emptyAndFill,
		"delete":                          deletes,
		"delete only what is named":       deleteNamed,
		"delete what others put there":    deleteAtOnce,
		"list":                            list,
		"list in order":                   listInOrder,
		"list of a folder under change":   listChanging,
		"list stops":                      listStops,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			t.Cleanup(func() { d.Close() })
			test(t, d)
		})
	}
}

// Files returns the paths of all files, in ascending order.
func Files(t testing.TB, d driver.Driver) []string {
	t.Helper()
	files := filesBelow(t, d, ".")
	slices.Sort(files)
	return files
}

func filesBelow(t testing.TB, d driver.Driver, dir string) (files []string) {
	t.Helper()
	for e, err := range d.List(t.Context(), dir) {
		must(t, err)
		if name := path.Join(dir, e.Name); e.Dir {
			files = append(files, filesBelow(t, d, name)...)
		} else {
			files = append(files, name)
		}
	}
	return files
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is checks that err is the one that the contract names.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error is %v, want %v", what, err, want)
	}
}

// holds checks what the file at a path holds.
func holds(t testing.TB, d driver.Driver, name, want string) {
	t.Helper()
	got, err := d.ReadFile(t.Context(), name, 1<<20)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.60q, error %v; want %.60q", name, got, err, want)
	}
}

// missing checks that nothing is at a path.
func missing(t testing.TB, d driver.Driver, name string) {
	t.Helper()
	info, err := d.Stat(t.Context(), name)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is %+v, error %v; want it missing", name, info, err)
	}
}

// put writes files "path=content".
func put(t testing.TB, d driver.Driver, files ...string) {
	t.Helper()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		must(t, d.WriteFile(t.Context(), name, []byte(content)))
	}
}

// upload makes a file of content as an upload does, durable.
func upload(ctx context.Context, d driver.Driver, name, content string) error {
	w, err := d.Append(ctx, name, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.WriteString(w, content); err != nil {
		return err
	}
	return w.Commit(ctx)
}

// listed returns a folder's entries, of which folders end in "/", or the error that ended the list.
func listed(ctx context.Context, d driver.Driver, dir string) (names []string, err error) {
	for e, err := range d.List(ctx, dir) {
		if err != nil {
			return names, err
		}
		if e.Dir {
			e.Name += "/"
		}
		names = append(names, e.Name)
	}
	return names, nil
}

// lists checks a folder's entries.
func lists(t testing.TB, d driver.Driver, dir string, want ...string) {
	t.Helper()
	got, err := listed(t.Context(), d, dir)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("list of %s: %q, error %v; want %q", dir, got, err, want)
	}
}

// atOnce runs fn n times at the same time and returns their errors.
func atOnce(n int, fn func(i int) error) error {
	errs := make(chan error)
	for i := range n {
		go func() { errs <- fn(i) }()
	}
	var all error
	for range n {
		all = errors.Join(all, <-errs)
	}
	return all
}
