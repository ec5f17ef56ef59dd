package store

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"gatehouse/registry/driver"
	"gatehouse/registry/tree"
)

// Why an upload does not go on.
var (
	ErrUploadUnknown  = errors.New("upload unknown")
	ErrUploadBusy     = errors.New("another request is writing to this upload")
	ErrDigestMismatch = errors.New("the uploaded bytes have another digest")
)

// SourceError wraps the error with which the source of an upload ended early: what came before it is kept.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return fmt.Sprintf("read the upload: %v", e.Err) }

// Unwrap returns the source's error.
func (e *SourceError) Unwrap() error { return e.Err }

// session is an upload under way. Its state is the length of the file on disk; what is held here saves reading that again and
// is given up when the upload rests for long or something fails.
type session struct {
	repo, id string

	mu        sync.Mutex // held by the one request that works on the upload
	ended     bool       // committed or cancelled; guarded by mu
	writer    driver.Writer
	algorithm digest.Algorithm
	hash      hash.Hash // of the bytes so far
	size      int64
	stored    bool          // the driver may have a file of it
	expected  digest.Digest // what the request says that the upload becomes, or ""
	placed    bool          // writer is a Placer's, for expected

	before  atomic.Int64 // size when the request that works on it began, for others that ask meanwhile
	touched time.Time    // guarded by Store.mu
}

const (
	restTime   = 10 * time.Minute // after it a resting upload is forgotten, and its bytes are hashed again if it goes on
	forgetTime = time.Hour        // after it an ended upload is forgotten
	sweepEvery = time.Minute
)

// Upload is the right to work on an upload session; nobody else has it until Release.
type Upload struct {
	store *Store
	*session
}

// Begin makes a session of an id that was never used before, so that its first request need not ask the driver for bytes.
func (s *Store) Begin(repo, id string, algorithm digest.Algorithm) {
	u := s.session(repo, id)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.algorithm, u.hash = algorithm, algorithm.Hash()
}

// Upload returns the session of an id in a repository, at the length that the driver has: bytes written before the server
// was restarted count. A session with no bytes yet needs no trace on disk, so any id that the caller vouches for is one. The
// algorithm is the one that the digest at the end is expected to be of; another one costs reading the bytes again.
// ErrUploadBusy while another request works on it, ErrUploadUnknown when it has ended.
func (s *Store) Upload(ctx context.Context, repo, id string, algorithm digest.Algorithm) (*Upload, error) {
	u := &Upload{store: s, session: s.session(repo, id)}
	if !u.mu.TryLock() {
		return nil, ErrUploadBusy
	}
	err := error(nil)
	if u.ended {
		err = ErrUploadUnknown
	} else if u.hash == nil || u.algorithm != algorithm {
		u.release()
		u.algorithm = algorithm
		err = u.resume(ctx)
	}
	if err != nil {
		u.mu.Unlock()
		return nil, err
	}
	u.before.Store(u.size)
	return u, nil
}

// Status returns how many bytes an upload has; while a request works on it, how many it had before that. Errors are Upload's.
func (s *Store) Status(ctx context.Context, repo, id string, algorithm digest.Algorithm) (size int64, err error) {
	u, err := s.Upload(ctx, repo, id, algorithm)
	if errors.Is(err, ErrUploadBusy) {
		return s.session(repo, id).before.Load(), nil
	}
	if err != nil {
		return 0, err
	}
	defer u.Release()
	return u.Size(), nil
}

// session returns the session of an id, and now and then lets go of those that rest.
func (s *Store) session(repo, id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.swept) > sweepEvery {
		s.swept = now
		for name, other := range s.sessions {
			if now.Sub(other.touched) > restTime && other.mu.TryLock() {
				other.release()
				if !other.ended || now.Sub(other.touched) > forgetTime {
					delete(s.sessions, name)
				}
				other.mu.Unlock()
			}
		}
	}
	name := repo + "\x00" + id
	found := s.sessions[name]
	if found == nil {
		found = &session{repo: repo, id: id}
		s.sessions[name] = found
	}
	found.touched = now
	return found
}

// resume takes up what the driver has of the upload.
func (u *Upload) resume(ctx context.Context) error {
	u.hash, u.size = u.algorithm.Hash(), 0
	f, err := u.store.driver.Open(ctx, tree.UploadData(u.repo, u.id))
	if u.stored = !errors.Is(err, fs.ErrNotExist); !u.stored {
		return nil
	}
	if err == nil {
		u.size, err = io.CopyBuffer(struct{ io.Writer }{u.hash}, struct{ io.Reader }{f}, make([]byte, pieceSize))
		f.Close()
	}
	if err != nil {
		u.hash = nil
		return fmt.Errorf("resume upload %s: %w", u.id, err)
	}
	return nil
}

// Release lets others work on the session. The file is closed meanwhile, or uploads that nobody goes on with would hold as
// many open; the hash is kept.
func (u *Upload) Release() {
	u.rest()
	u.store.mu.Lock()
	u.touched = u.store.now()
	u.store.mu.Unlock()
	u.mu.Unlock()
}

// Size is how many bytes the upload has.
func (u *Upload) Size() int64 { return u.size }

// Expect says what the upload becomes, when all that it lacks is about to be added and then committed. If nothing is stored
// of it, a driver that can write to where the blob belongs does so: what is not committed then is dropped, and Size is 0 again.
func (u *Upload) Expect(d digest.Digest) {
	if u.size == 0 && u.algorithm != d.Algorithm() {
		u.algorithm, u.hash = d.Algorithm(), d.Algorithm().Hash()
	}
	u.expected = d
}

// Append adds what r holds. What counts in Size afterwards outlives the process. A *SourceError means that r failed: what it
// gave before is kept. After another error the driver's word on the length is taken again at the next request.
func (u *Upload) Append(ctx context.Context, r io.Reader) error {
	if err := u.open(ctx); err != nil {
		return err
	}
	n, err := pump(hashing{u.hash, u.writer}, r)
	u.size += n
	var source *SourceError
	if f, ok := u.writer.(driver.Flusher); ok && (err == nil || errors.As(err, &source)) {
		if failed := f.Flush(context.WithoutCancel(ctx)); failed != nil { // the client may have gone; what it sent counts
			err = failed
		}
	}
	if err != nil && (u.placed || !errors.As(err, &source)) {
		u.release()
		return fmt.Errorf("write upload %s: %w", u.id, err)
	}
	return err
}

// hashing writes to both, the hash first: a failed write ends the use of either.
type hashing struct {
	hash hash.Hash
	w    io.Writer
}

func (h hashing) Write(p []byte) (int, error) {
	h.hash.Write(p)
	return h.w.Write(p)
}

// open opens the upload's file behind its bytes, or that of the blob which it becomes.
func (u *Upload) open(ctx context.Context) (err error) {
	switch {
	case u.writer != nil:
	case u.store.placer != nil && u.expected != "" && !u.stored:
		u.writer, err = u.store.placer.Place(ctx, tree.Blob(u.expected))
		u.placed = err == nil
	default:
		u.stored = true
		u.writer, err = u.store.driver.Append(ctx, tree.UploadData(u.repo, u.id), u.size)
	}
	if err != nil {
		u.release()
		return fmt.Errorf("open upload %s: %w", u.id, err)
	}
	return nil
}

// Commit ends the upload and makes its bytes the blob d, durable when Commit returns nil. They take the place of what may be
// there: these were just verified, those may have been damaged since. ErrDigestMismatch leaves the upload as it was, or,
// where Expect had the driver place it, without bytes.
func (u *Upload) Commit(ctx context.Context, d digest.Digest) error {
	if err := u.verify(ctx, d); err != nil {
		if u.placed {
			u.release()
		}
		return err
	}
	err := u.publish(ctx, d)
	u.release()
	if err != nil {
		return fmt.Errorf("commit upload %s as blob %s: %w", u.id, d, err)
	}
	u.ended = true
	return nil
}

// publish makes the bytes durable and moves them to where the blob belongs, which ends the upload's folder too.
func (u *Upload) publish(ctx context.Context, d digest.Digest) error {
	if err := u.open(ctx); err != nil {
		return err
	}
	if err := u.writer.Commit(ctx); err != nil || u.placed {
		return err
	}
	return u.store.driver.Move(ctx, tree.UploadData(u.repo, u.id), tree.Blob(d))
}

// verify compares the bytes with a digest. One of another algorithm than was expected takes reading them again.
func (u *Upload) verify(ctx context.Context, d digest.Digest) error {
	got := digest.NewDigest(u.algorithm, u.hash)
	if d.Algorithm() != u.algorithm {
		f, err := u.store.driver.Open(ctx, tree.UploadData(u.repo, u.id))
		switch {
		case errors.Is(err, fs.ErrNotExist) && u.size == 0:
			got = d.Algorithm().FromBytes(nil)
		case err != nil:
			return fmt.Errorf("read upload %s: %w", u.id, err)
		default:
			got, err = digestOf(d.Algorithm(), f)
			f.Close()
			if err != nil {
				return fmt.Errorf("read upload %s: %w", u.id, err)
			}
		}
	}
	if got != d {
		return fmt.Errorf("%w: %s, not %s", ErrDigestMismatch, got, d)
	}
	return nil
}

// Cancel ends the upload and drops its bytes. A folder that stays behind takes room but harms nothing.
func (u *Upload) Cancel(ctx context.Context) {
	u.release()
	u.ended = true
	if !u.stored {
		return
	}
	err := absent(u.store.driver.Delete(context.WithoutCancel(ctx), tree.Upload(u.repo, u.id)))
	if err != nil {
		u.store.log.WarnContext(ctx, "an ended upload was left behind", "repo", u.repo, "upload", u.id, "err", err)
	}
}

// rest closes the upload's file. What was placed and not committed is dropped.
func (s *session) rest() {
	if s.writer != nil {
		s.writer.Close()
	}
	s.writer, s.expected = nil, ""
	if s.placed {
		s.placed, s.hash, s.size = false, nil, 0
	}
}

// release gives up what the session holds in memory: the next request takes it from the driver again.
func (s *session) release() {
	s.rest()
	s.hash, s.size = nil, 0
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
