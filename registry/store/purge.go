package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"gatehouse/registry/driver"
	"gatehouse/registry/tree"
)

// Purging says which uploads are given up.
type Purging struct {
	Age      time.Duration // how long nothing was added to them
	Interval time.Duration // between two looks
	DryRun   bool          // only log them
}

// Purge removes uploads that have rested for p.Age, every p.Interval, until ctx is done. It removes bytes that never became a
// blob, and nothing else; an upload that a request works on is left alone, whatever its age.
func (s *Store) Purge(ctx context.Context, p Purging) error {
	tick := time.NewTicker(p.Interval)
	defer tick.Stop()
	for {
		n, err := s.PurgeOnce(ctx, p)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.ErrorContext(ctx, "looking for abandoned uploads failed; trying again", "err", err)
		case n > 0:
			s.log.InfoContext(ctx, "abandoned uploads", "removed", n, "dryrun", p.DryRun)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// PurgeOnce is one look of Purge. It returns how many uploads were removed, or would be in a dry run, and counts what the
// driver itself had left behind.
func (s *Store) PurgeOnce(ctx context.Context, p Purging) (removed int, err error) {
	err = s.purgeBelow(ctx, tree.Repositories, p, &removed)
	if sweeper, ok := s.driver.(driver.Sweeper); ok && err == nil && !p.DryRun {
		var swept int
		swept, err = sweeper.Sweep(ctx, p.Age)
		removed += swept
	}
	return removed, err
}

// purgeBelow looks at a folder of repositories. A repository's folder holds those below it and, in names that begin with "_",
// its own.
func (s *Store) purgeBelow(ctx context.Context, folder string, p Purging, removed *int) error {
	for e, err := range s.driver.List(ctx, folder) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("list %s: %w", folder, err)
		case !e.Dir:
		case e.Name == "_uploads":
			repo := folder[min(len(tree.Repositories)+1, len(folder)):]
			if err := s.purgeUploads(ctx, repo, p, removed); err != nil {
				return err
			}
		case e.Name[0] != '_':
			if err := s.purgeBelow(ctx, path.Join(folder, e.Name), p, removed); err != nil {
				return err
			}
		}
	}
	return nil
}

// purgeUploads looks at the uploads of a repository.
func (s *Store) purgeUploads(ctx context.Context, repo string, p Purging, removed *int) error {
	for e, err := range s.driver.List(ctx, path.Dir(tree.Upload(repo, "x"))) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list uploads of %s: %w", repo, err)
		}
		gone, err := s.purgeUpload(ctx, repo, e.Name, p)
		if err != nil {
			return fmt.Errorf("purge upload %s of %s: %w", e.Name, repo, err)
		}
		if gone {
			*removed++
		}
	}
	return nil
}

// purgeUpload removes an upload that rested for long. Storage may be slow to say that, and whoever goes on with it meanwhile has
// to find it free: so it is taken only to be removed, and looked at again then.
func (s *Store) purgeUpload(ctx context.Context, repo, id string, p Purging) (bool, error) {
	rested, err := s.rested(ctx, repo, id)
	if err != nil || rested < p.Age {
		return false, err
	}
	session := s.session(repo, id)
	if !session.mu.TryLock() {
		return false, nil
	}
	defer session.mu.Unlock()
	if rested, err = s.rested(ctx, repo, id); err != nil || rested < p.Age {
		return false, err
	}
	if p.DryRun {
		s.log.InfoContext(ctx, "an abandoned upload would be removed", "repo", repo, "upload", id, "rested", rested)
		return true, nil
	}
	session.release()
	session.ended = true
	return true, absent(s.driver.Delete(ctx, tree.Upload(repo, id)))
}

// rested returns how long nothing was written to an upload: its age does not count, a slow one may be old.
func (s *Store) rested(ctx context.Context, repo, id string) (time.Duration, error) {
	newest := time.Time{}
	for e, err := range s.driver.List(ctx, tree.Upload(repo, id)) {
		if err != nil {
			return 0, absent(err)
		}
		info, err := s.driver.Stat(ctx, path.Join(tree.Upload(repo, id), e.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return 0, err
		case info.ModTime.After(newest):
			newest = info.ModTime
		}
	}
	return s.now().Sub(newest), nil
}
