package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"gatehouse/registry/driver"
)

// Append is driver.Driver's. The Writer is a driver.Flusher.
func (d *Driver) Append(ctx context.Context, path string, offset int64) (driver.Writer, error) {
	if err := d.begin(ctx, "append", path); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	o, err := d.head(ctx, "append", path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && offset == 0:
		if o.etag, err = d.put(ctx, path, nil, nil); err != nil {
			return nil, d.explain("append", path, err)
		}
	case err != nil:
		return nil, err
	case o.size != offset:
		return nil, fmt.Errorf("append to %s at %d: %w, %d", path, offset, driver.ErrOffset, o.size)
	}
	w := &writer{d: d, path: path, size: offset, saved: o}
	w.sender = w.newSender()
	return w, nil
}

// writer is the driver.Writer of a file. What it has sent but not saved is lost with the process; what is saved is the file.
type writer struct {
	d    *Driver
	path string
	size int64

	saved    object // what is at path
	begun    bool   // sender goes on behind saved
	sender   *sender
	replaced []part // parts of saved that the next save replaces

	err   error
	ended bool
}

func (w *writer) newSender() *sender { return &sender{d: w.d, path: w.path, send: w.send} }

// send stores a part as an object of its own.
func (w *writer) send(_ int, data []byte) (part, error) {
	p := part{Name: driver.TempName(path.Base(w.path)), Size: int64(len(data))}
	var err error
	p.ETag, err = w.d.put(context.Background(), p.of(w.path), data, nil)
	return p, err
}

func (w *writer) Size() int64 { return w.size }

func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, w.closed("write")
	}
	if w.err != nil {
		return 0, w.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !w.begun {
		if err := w.resume(); err != nil {
			return 0, w.fail(err)
		}
	}
	n, err := w.sender.write(p)
	w.size += int64(n)
	if err != nil {
		return n, w.fail(err)
	}
	return n, nil
}

// resume has the sender go on behind what is saved: parts stay where they are, and a last one that is too small for one is
// taken back into the buffer.
func (w *writer) resume() error {
	ctx := context.Background()
	var parts []part
	switch {
	case w.saved.inParts:
		s, err := w.d.readState(ctx, "append", w.path)
		if err != nil {
			return err
		}
		if s.size() != w.size {
			return fmt.Errorf("append to %s at %d: %w, %d: another wrote to it", w.path, w.size, driver.ErrOffset, s.size())
		}
		parts = s.Parts
	case w.saved.size >= minPart: // the part that the object was, had it been known that more comes
		p := part{Name: driver.TempName(path.Base(w.path)), Size: w.saved.size}
		etag, err := w.d.assemble(ctx, []source{{key: w.d.key(w.path), etag: w.saved.etag, size: w.saved.size}}, p.of(w.path), nil)
		if err != nil {
			return w.d.explain("append", w.path, err)
		}
		p.ETag = etag
		parts = []part{p}
	case w.saved.size > 0:
		return w.takeBack(nil, source{key: w.d.key(w.path), etag: w.saved.etag, size: w.saved.size})
	}
	last := len(parts) - 1
	if last < 0 || parts[last].Size >= minPart {
		return w.takeBack(parts, source{})
	}
	w.replaced = parts[last:]
	return w.takeBack(parts[:last:last], sources(w.d, w.path, parts[last:])[0])
}

// takeBack begins sending behind parts, with the bytes of last.
func (w *writer) takeBack(parts []part, last source) error {
	w.sender.begin(parts)
	w.begun = true
	if last.size == 0 {
		return nil
	}
	last.first = 0
	b := make([]byte, last.size)
	f := file{d: w.d, path: w.path, sources: []source{last}, size: last.size}
	defer f.Close()
	if _, err := io.ReadFull(&f, b); err != nil {
		return err
	}
	_, err := w.sender.write(b)
	return err
}

// fail ends writing after an error. What was sent before the gap is saved if it can be, and Size says what is.
func (w *writer) fail(err error) error {
	w.err = w.d.explain("write", w.path, err)
	w.sender.drop()
	parts, _ := w.sender.wait()
	if s := (state{parts}); w.begun && s.size() > w.saved.size {
		if w.d.writeState(context.Background(), w.path, s) == nil {
			w.saved = object{size: s.size(), inParts: true}
			w.d.removeParts(context.Background(), w.path, w.replaced)
		}
	}
	w.size = w.saved.size
	return w.err
}

// save makes what was written the file. The memory it took is given up.
func (w *writer) save(ctx context.Context) error {
	parts, err := w.sender.wait()
	if err != nil {
		return w.fail(err)
	}
	if !w.begun || w.size == w.saved.size {
		return nil
	}
	saved := object{size: w.size}
	switch rest := w.sender.buffered(); {
	case len(parts) == 0:
		saved.etag, err = w.d.put(ctx, w.path, *w.sender.buf, nil)
	default:
		saved.inParts = true
		if rest > 0 {
			if err = w.sender.flush(); err == nil {
				parts, err = w.sender.wait()
			}
		}
		if err == nil {
			err = w.d.writeState(ctx, w.path, state{parts})
		}
	}
	if err != nil {
		return w.fail(err)
	}
	w.d.removeParts(ctx, w.path, w.replaced)
	w.sender.drop()
	w.saved, w.begun, w.replaced, w.sender = saved, false, nil, w.newSender()
	return nil
}

func (w *writer) Flush(ctx context.Context) error {
	if w.ended {
		return w.closed("flush")
	}
	if w.err != nil {
		return w.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.save(context.WithoutCancel(ctx))
}

// Commit has nothing to do but to save: what S3 has said it has is durable.
func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return w.closed("commit")
	}
	if err := w.Flush(ctx); err != nil {
		return err
	}
	w.ended = true
	return nil
}

// Close saves, so that appending can go on later.
func (w *writer) Close() error {
	if w.ended {
		return nil
	}
	w.ended = true
	if w.err != nil {
		return nil
	}
	return w.save(context.Background())
}

func (w *writer) closed(op string) error {
	return &fs.PathError{Op: op, Path: w.path, Err: fs.ErrClosed}
}
