package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leakTimeout is how long a collector may take, after all is quiet, for what a few cycles should do.
const leakTimeout = 40 * time.Second

// audit looks at all that there is when clients and chaos have stopped: through the running server, on its disk, with fsck after
// a clean stop, and once more through a server with empty caches.
func (s *soak) audit() error {
	c := s.newClient("audit", 1)
	s.say("pulling all that there is")
	needed := c.everything()
	s.say("%d digests are needed; waiting for the collector", len(needed))
	s.settled(needed)
	if err := s.server.end(syscall.SIGTERM); err != nil {
		return err
	}
	output, err := s.server.fsck()
	if err != nil {
		return fmt.Errorf("fsck: %w: %s", err, output)
	}
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "defect:") {
			s.verdict.violate(violation{class: defect, names: digestsIn(line), text: "fsck: " + strings.TrimSpace(line)})
		}
	}
	s.say("fsck: %s", strings.TrimSpace(output[strings.LastIndex(strings.TrimSpace(output), "\n")+1:]))
	s.judgeUnlinked()
	if err := s.server.start(s.ctx); err != nil {
		return err
	}
	for d := range c.everything() {
		if !needed[d] {
			s.verdict.violate(violation{class: disorder, names: []string{d}, text: "I15: after a restart there is more than before: " + short(d)})
		}
	}
	if err := s.server.end(syscall.SIGTERM); err != nil {
		return err
	}
	judgeOrders(s.history, s.verdict)
	s.judgeErrors()
	return nil
}

// everything pulls all tags with all that they need and what refers to that, and what keepers left. It returns the digests:
// nothing else needs to be there.
func (c *client) everything() map[string]bool {
	needed := map[string]bool{}
	for _, k := range c.keeps {
		c.look(k, needed)
	}
	for _, repo := range c.pool.repos {
		tags := map[string]bool{}
		for _, tag := range append(c.tags(repo), c.pool.tags...) {
			if !tags[tag] {
				tags[tag] = true
				if a := c.manifest(repo, tag); a.outcome == done {
					c.closure(repo, a.digest, needed)
				}
			}
		}
	}
	digests := map[string]bool{}
	for d := range needed {
		digests[d[strings.Index(d, "sha256:"):]] = true
	}
	return digests
}

// closure pulls a manifest, what it needs and what refers to it. needed holds what was seen, in each repository.
func (c *client) closure(repo, digest string, needed map[string]bool) {
	key := repo + " " + digest
	if needed[key] {
		return
	}
	needed[key] = true
	c.holds(repo, digest, digest, needed)
	a := c.manifest(repo, digest)
	var doc document
	if a.outcome != done || json.Unmarshal(a.body, &doc) != nil {
		return
	}
	for _, child := range doc.Manifests {
		c.closure(repo, child.Digest, needed)
	}
	list, _ := c.referrers(repo, digest)
	for _, r := range list {
		c.closure(repo, r, needed)
	}
}

// tags lists the tags of a repository, which are none where it is unknown.
func (c *client) tags(repo string) []string {
	a := c.ask(op{kind: session, repo: repo, note: "tags"}, "GET", "/v2/"+repo+"/tags/list?n=1000", nil)
	var list struct{ Tags []string }
	if a.outcome == done && json.Unmarshal(a.body, &list) != nil {
		return nil
	}
	return list.Tags
}

// settled waits until nothing is on the disk but what is needed (I6), and enters what still is when that takes too long.
func (s *soak) settled(needed map[string]bool) {
	deadline := time.Now().Add(leakTimeout)
	for {
		extra, missing := s.compare(needed)
		if len(extra) == 0 && len(missing) == 0 {
			return
		}
		if time.Now().Before(deadline) && len(missing) == 0 && pause(s.ctx, 100*time.Millisecond) == nil {
			continue
		}
		for _, name := range extra {
			s.verdict.violate(violation{class: leaked, names: digestsIn(name), text: "I6: nothing needs " + name})
		}
		for _, d := range missing {
			s.verdict.violate(violation{class: lost, names: []string{d}, text: "I1: there are no bytes of " + d})
		}
		return
	}
}

// compare returns the files of the tree that nothing needs, and the digests that are needed and have no bytes.
func (s *soak) compare(needed map[string]bool) (extra, missing []string) {
	stored := s.stored(func(name string) { extra = append(extra, name) })
	late := 0
	for d, name := range stored {
		switch {
		case needed[d]:
		case s.late(d):
			late++
		default:
			extra = append(extra, name)
		}
	}
	s.verdict.note("late", strconv.Itoa(late))
	for d := range needed {
		if stored[d] == "" {
			missing = append(missing, d)
		}
	}
	slices.Sort(extra)
	return extra, missing
}

// settling is how long the collector remembers what it deleted (registry/index/condemned.go). Until then bytes of that digest that
// came back and were not acknowledged stay: a push of them may be under way.
const settling = 10 * time.Minute

// late reports whether the bytes of a digest are such: the collector deleted them, and a push that was killed wrote them again.
func (s *soak) late(digest string) bool {
	s.server.log.mu.Lock()
	deleted, ok := s.server.log.deletedAt[digest]
	s.server.log.mu.Unlock()
	return ok && s.history.now() < deleted+settling+scanEvery && s.history.any(deleted, forever, func(o op) bool {
		return o.outcome == unknown && o.digest == digest && (o.kind == upload || o.kind == putManifest)
	})
}

var (
	blobPath = regexp.MustCompile(`^blobs/sha256/[0-9a-f]{2}/([0-9a-f]{64})/data$`)
	linkPath = regexp.MustCompile(`^repositories/.*/link$`)
	aDigest  = regexp.MustCompile(`(sha256)[:/](?:[0-9a-f]{2}/)?([0-9a-f]{64})`)
)

// digestsIn returns the digests that a text, or a path, names.
func digestsIn(text string) (digests []string) {
	for _, m := range aDigest.FindAllStringSubmatch(text, -1) {
		digests = append(digests, m[1]+":"+m[2])
	}
	return digests
}

// stored walks the tree: it returns the path of each digest's bytes, and calls other with each file that is neither bytes of a
// blob nor a link.
func (s *soak) stored(other func(name string)) map[string]string {
	found := map[string]string{}
	root := filepath.Join(s.server.root(), "docker", "registry", "v2")
	fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() { // what goes while it is looked at is looked at again
			return nil
		}
		if m := blobPath.FindStringSubmatch(name); m != nil {
			found["sha256:"+m[1]] = name
		} else if !linkPath.MatchString(name) {
			other(name)
		}
		return nil
	})
	return found
}

// judgeUnlinked compares the collector's log with what is gone (I8): all that was acknowledged once is there or was deleted by it.
func (s *soak) judgeUnlinked() {
	stored := s.stored(func(string) {})
	acked := map[string]bool{}
	pushed := map[string]bool{}
	for _, o := range s.history.all() {
		if o.kind == upload || o.kind == putManifest {
			pushed[o.digest] = true
			acked[o.digest] = acked[o.digest] || o.outcome == done
		}
	}
	s.server.log.mu.Lock()
	defer s.server.log.mu.Unlock()
	for d, ok := range acked {
		if ok && stored[d] == "" && s.server.log.deleted[d] == 0 {
			s.verdict.violate(violation{class: unlogged, names: []string{d}, text: "I8: the bytes are gone, and no line says that the collector deleted them"})
		}
	}
	for d := range s.server.log.deleted {
		if !pushed[d] {
			s.verdict.violate(violation{class: unlogged, names: []string{d}, text: "I8: the collector deleted what nobody pushed"})
		}
	}
}

// sendAgain is why an upload is refused, with 503, whose bytes the collector took between their last byte and their name: the
// window is as long as an fsync, and only what is condemned has it. registry/keep.go says so; one in a hundred is more than that.
const (
	sendAgain    = "the collector was deleting this digest: push it again"
	sendAgainMax = 100
)

// judgeErrors enters answers and lines of the log that no end of the server explains.
func (s *soak) judgeErrors() {
	s.server.log.mu.Lock()
	defer s.server.log.mu.Unlock()
	again := 0
	for _, line := range s.server.log.errors {
		if strings.Contains(line, sendAgain) {
			again++
		} else {
			s.verdict.violate(violation{class: failure, text: line})
		}
	}
	uploads := s.history.count(func(o op) bool { return o.kind == upload })
	if again > 1+uploads/sendAgainMax {
		s.verdict.violate(violation{class: failure, text: fmt.Sprintf("%d of %d uploads had to be sent again", again, uploads)})
	}
	s.verdict.note("again", strconv.Itoa(again))
	for _, o := range s.history.unexplained() {
		if o.kind == upload && o.status == 503 && again > 0 {
			again--
			continue
		}
		s.verdict.violate(violation{class: failure, repo: o.repo, names: []string{o.tag, o.digest}, at: o.end, text: o.String()})
	}
}
