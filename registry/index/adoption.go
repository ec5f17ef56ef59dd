package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/registry/index/kv"
)

// AdoptionState says how far the index knows the tree beside it.
type AdoptionState string

// The states. In AdoptionNone nobody has looked yet whether there is a tree.
const (
	AdoptionNone    AdoptionState = ""
	AdoptionRunning AdoptionState = "running"
	AdoptionDone    AdoptionState = "done"
)

// Adoption is how a tree that distribution wrote is taken over. What is counted is what the tree said, of the repositories
// that are in the index by now.
type Adoption struct {
	State      AdoptionState `json:"state"`
	Generation int           `json:"generation"` // 1 for the first adoption, one more for each after it
	Started    time.Time     `json:"started"`
	Finished   time.Time     `json:"finished,omitzero"`

	Repositories int `json:"repositories"`
	Links        int `json:"links"`
	Manifests    int `json:"manifests"`
	Tags         int `json:"tags"`
	Findings     int `json:"findings"`
}

// Finding is an oddity of a tree. It was read, and harmed nothing else.
type Finding struct {
	Path   string `json:"path"` // below the driver's root
	Kind   string `json:"kind"`
	Detail string `json:"detail,omitempty"`
}

// maxFindings is how many findings are kept, the newest.
const maxFindings = 1000

var adoptionKey = key(kindMeta, "adoption")

// adoptedRecord marks a repository that has been read.
type adoptedRecord struct {
	Generation int `json:"generation"`
}

// Adoption returns how far the adoption is.
func (x *Index) Adoption(ctx context.Context) (a Adoption, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		a, err = adoption(r)
		return err
	})
	return a, err
}

func adoption(r kv.Reader) (Adoption, error) {
	a, err := get[Adoption](r, adoptionKey)
	return a, unless(err, kv.ErrNotFound)
}

// StartAdoption begins an adoption in which no repository is adopted yet. What was found before is forgotten. Nothing
// else may use the index when there was an adoption before.
func (x *Index) StartAdoption(ctx context.Context) error {
	return x.db.Update(ctx, func(w kv.Writer) error {
		t := x.begin(w)
		a, err := adoption(w)
		if err != nil {
			return err
		}
		prefix := key(kindFinding, "")
		for p, err := range w.Scan(prefix, kv.End(prefix)) {
			if err != nil {
				return err
			}
			if err := w.Delete(p.Key); err != nil {
				return err
			}
		}
		return t.put(adoptionKey, Adoption{State: AdoptionRunning, Generation: a.Generation + 1, Started: t.at})
	})
}

// FinishAdoption ends the adoption: all repositories of the tree are in the index. found is of the tree at large.
func (x *Index) FinishAdoption(ctx context.Context, found []Finding) error {
	return x.db.Update(ctx, func(w kv.Writer) error {
		t := x.begin(w)
		a, err := adoption(w)
		if err != nil {
			return err
		}
		if a.State == AdoptionDone {
			return nil
		}
		if a.State == AdoptionNone { // there was no tree
			a.Generation, a.Started = 1, t.at
		}
		a.State, a.Finished = AdoptionDone, t.at
		if err := t.find(&a, found); err != nil {
			return err
		}
		return t.put(adoptionKey, a)
	})
}

// Adopted reports whether the adoption under way has read a repository.
func (x *Index) Adopted(ctx context.Context, repo string) (adopted bool, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		a, err := adoption(r)
		if err != nil {
			return err
		}
		adopted, err = marked(r, repo, a.Generation)
		return err
	})
	return adopted, err
}

func marked(r kv.Reader, repo string, generation int) (bool, error) {
	mark, err := get[adoptedRecord](r, key(kindAdopted, repo))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil && mark.Generation == generation, err
}

// Findings returns the findings that are kept, oldest first.
func (x *Index) Findings(ctx context.Context) (found []Finding, err error) {
	err = x.db.View(ctx, func(r kv.Reader) error {
		found = nil
		prefix := key(kindFinding, "")
		for p, err := range r.Scan(prefix, kv.End(prefix)) {
			if err != nil {
				return err
			}
			var f Finding
			if err := decode(p.Key, p.Value, &f); err != nil {
				return err
			}
			found = append(found, f)
		}
		return nil
	})
	return found, err
}

// adopted marks a repository and counts what it brought.
func (t *tx) adopted(in Import) error {
	a, err := adoption(t.w)
	if err != nil {
		return err
	}
	if len(in.Links)+len(in.Manifests)+len(in.Tags)+len(in.Findings) > 0 {
		a.Repositories++
	}
	a.Links += len(in.Links)
	a.Manifests += len(in.Manifests)
	a.Tags += len(in.Tags)
	if err := t.find(&a, in.Findings); err != nil {
		return err
	}
	if err := t.put(adoptionKey, a); err != nil {
		return err
	}
	return t.put(key(kindAdopted, in.Repository), adoptedRecord{Generation: a.Generation})
}

// find keeps findings, and lets go of the oldest.
func (t *tx) find(a *Adoption, found []Finding) error {
	a.Findings += len(found)
	first := a.Findings - len(found) // the number of the first of them
	for i, f := range found {
		n := first + i
		if n >= a.Findings-maxFindings {
			if err := t.put(findingKey(n), f); err != nil {
				return err
			}
		}
		if old := n - maxFindings; old >= 0 {
			if err := t.w.Delete(findingKey(old)); err != nil {
				return err
			}
		}
	}
	return nil
}

func findingKey(n int) []byte { return key(kindFinding, fmt.Sprintf("%016x", n)) }
