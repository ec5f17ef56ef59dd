// Package bolt keeps a kv.DB in one file with go.etcd.io/bbolt, and a journal in front of it: the embedded engine, for one
// process.
//
// A commit of bbolt costs two fsyncs and scatters pages. So what is committed is appended to the journal (journal.go), which
// costs one, and is kept in memory from then on, in an ordered map. Now and then a checkpoint (checkpoint.go) moves what is in
// memory into bbolt, and the journal begins anew. Readers see memory laid over bbolt (state.go). What an unclean end left in the
// journal is taken up when the index is opened (recover.go). A clean Close leaves bbolt's file, complete, and no journal.
//
// Transactions that are waiting when the disk becomes free are committed together (update.go): each runs against its own
// overlay, so that one that fails takes back only its own writes, and one fsync makes all others durable.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/registry/index/kv"
)

// The buckets of the file. The index has one flat, ordered key space. The sequence that bbolt keeps with that bucket is the one
// of the newest journal record of which it has writes; keyComplete has the one up to which it has all of them. They differ in
// the middle of a checkpoint.
var (
	bucket        = []byte("index")
	journalBucket = []byte("journal")
	keyIdentity   = []byte("id")       // 8 random bytes that are in each record of the journals that belong to this file
	keyComplete   = []byte("complete") // 8 bytes, big endian
	keyFiles      = []byte("files")    // a byte with a bit for each file of the journal that there is; none: there is none
)

// maxBatch bounds how many transactions share a commit, so that none waits for a crowd behind it.
const maxBatch = 256

// DB is a kv.DB over a bbolt file and its journal. The transaction that finds the disk free commits for all that are waiting;
// a goroutine runs only while a checkpoint does.
type DB struct {
	bolt    *bbolt.DB
	options options

	state atomic.Pointer[state] // what readers see

	queue chan *update  // transactions waiting for a commit
	lead  chan struct{} // holds one element while somebody commits, or changes what follows

	// Whoever leads has these.
	journal  *journal
	reserve  reserve
	memory   table       // what is committed, and not known to be in bbolt
	complete uint64      // bbolt has all writes up to this sequence
	running  *checkpoint // or nil
	next     table       // what memory will be when the running checkpoint is done: what was committed since it began
	retry    int64       // after a checkpoint for which there was no space: how large memory may get before the next
	failed   error       // why nothing can be written any more
	closed   bool

	checkpoints sync.WaitGroup
}

// options is what tests set differently.
type options struct {
	memory  int64 // bytes in memory at which a checkpoint begins; at twice as many commits wait for it
	journal int64 // the same for bytes in the journal
	batch   int   // keys that a checkpoint writes in one transaction of bbolt
	open    func(path string, create bool) (file, error)
	random  io.Reader
	step    func(string) error      // is told how far a checkpoint is; an error before a transaction is that of the transaction
	folder  func(path string) error // makes the entries of a folder durable
	noSync  bool                    // of bbolt's file
	reserve int64                   // bytes that are held for when the disk is full
}

// Open opens the file at path, made with its folder when it is missing. It waits a second for another process to let go of
// it and then fails. What an unclean end left in the journal beside it is in the index when Open returns; on a full disk
// it opens too.
func Open(path string) (*DB, error) {
	return openWith(path, options{memory: 16 << 20, journal: 32 << 20, batch: 4096, open: openDisk, random: rand.Reader, step: func(string) error { return nil }, folder: syncFolder, reserve: reserveBytes})
}

func openWith(path string, o options) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the index: %w", err)
	}
	if err := checkSize(path); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 1 << 30, // address space only: growing the map would wait for readers
		NoSync:          o.noSync,
		NoGrowSync:      o.noSync,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open the index %s: in use by another process; stop the server first: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the index %s: %w", path, err)
	}
	db := &DB{bolt: b, options: o, queue: make(chan *update, maxBatch), lead: make(chan struct{}, 1)}
	db.lead <- struct{}{}
	err = db.prepare(path)
	<-db.lead
	if err != nil {
		db.checkpoints.Wait()
		db.journal.close()
		b.Close()
		return nil, fmt.Errorf("prepare the index %s: %w", path, err)
	}
	return db, nil
}

// prepare makes the buckets of a new file, and takes up the journal.
func (db *DB) prepare(path string) error {
	var touched uint64
	db.journal = &journal{path: path + "-journal-", open: db.options.open, folder: db.options.folder, mark: db.mark, limit: db.options.journal}
	load := func(tx *bbolt.Tx) error {
		b, j := tx.Bucket(bucket), tx.Bucket(journalBucket)
		if b == nil || j == nil || len(j.Get(keyIdentity)) != 8 || len(j.Get(keyComplete)) != 8 {
			return errIncomplete
		}
		touched = b.Sequence()
		db.journal.id = binary.BigEndian.Uint64(j.Get(keyIdentity))
		db.complete = binary.BigEndian.Uint64(j.Get(keyComplete))
		if files := j.Get(keyFiles); len(files) == 1 {
			db.journal.marks = files[0]
		}
		return nil
	}
	err := db.bolt.View(load)
	if errors.Is(err, errIncomplete) {
		if err = db.bolt.Update(db.found); err == nil {
			err = db.bolt.View(load)
		}
	}
	if err == nil {
		err = db.options.folder(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	if err := db.recover(touched); err != nil {
		return err
	}
	db.reserve = reserve{path: path + "-reserve", want: db.options.reserve}
	db.reserve.fill()
	return nil
}

// mark writes down which files the journal has, so that one which goes missing is missed.
func (db *DB) mark(files byte) error {
	return db.bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(journalBucket).Put(keyFiles, []byte{files}) })
}

var errIncomplete = errors.New("the buckets of the index are not there")

// found makes what is missing in a file that is new, or older than the journal.
func (db *DB) found(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
		return err
	}
	b, err := tx.CreateBucketIfNotExists(journalBucket)
	if err != nil {
		return err
	}
	id := make([]byte, 8)
	if _, err := io.ReadFull(db.options.random, id); err != nil {
		return err
	}
	return errors.Join(b.Put(keyIdentity, id), b.Put(keyComplete, make([]byte, 8)))
}

// syncFolder makes the entry of a file that was just created durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// View is kv.DB's.
func (db *DB) View(ctx context.Context, fn func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, tx, err := db.begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return fn(r)
}

// Close is kv.DB's. It moves what is in the journal into bbolt. When it cannot, it says so, and the journal stays: it is taken
// up when the index is opened again, and what was committed is not lost.
func (db *DB) Close() error {
	db.lead <- struct{}{}
	for db.commit() {
	}
	var err error
	if !db.closed {
		db.closed = true
		if err = db.failed; err == nil {
			err = db.makeRoom()
		}
		db.reserve.release()
		db.journal.close() // all that it has was synced
		if err == nil {
			err = db.mark(0)
		}
		if err == nil {
			db.journal.remove()
		} else {
			err = fmt.Errorf("close the index: what was committed last is still in its journal: %w", err)
		}
		err = errors.Join(err, db.bolt.Close())
	}
	<-db.lead
	db.checkpoints.Wait()
	return err
}
