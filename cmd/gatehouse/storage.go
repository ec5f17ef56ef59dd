package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatehouse/configs"
	"gatehouse/durable"
	"gatehouse/registry/adopt"
	"gatehouse/registry/driver"
	"gatehouse/registry/index"
	"gatehouse/registry/index/kv"
	"gatehouse/registry/index/kv/bolt"
	"gatehouse/registry/store"
	"gatehouse/registry/tree"
)

// storage is where names and bytes are kept, and the folder for all else that the server keeps.
type storage struct {
	dataDir   string
	temporary bool // dataDir goes when the server stops
	driver    driver.Driver
	db        kv.DB
	index     *index.Index
	store     *store.Store
	projector *tree.Projector
	adopter   *adopt.Adopter
}

// openStorage opens what the configuration names; everything is there and readable when it returns.
func openStorage(ctx context.Context, cfg *configs.Config, log *slog.Logger) (st *storage, err error) {
	st = &storage{dataDir: cfg.DataDir()}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if st.dataDir == "" { // storage.inmemory
		st.temporary = true
		if st.dataDir, err = os.MkdirTemp("", "gatehouse-"); err != nil {
			return st, err
		}
	}
	if err := durable.MkdirAll(st.dataDir, 0o700); err != nil {
		return st, fmt.Errorf("make the data folder: %w", err)
	}
	if st.driver, err = openDriver(ctx, cfg.Storage); err != nil {
		return st, err
	}
	path := cfg.Index.Path
	if path == "" {
		path = filepath.Join(st.dataDir, "index.db")
	}
	db, err := bolt.Open(path)
	if err != nil {
		return st, err
	}
	st.db = db
	if st.index, err = index.Open(ctx, st.db, time.Now); err != nil {
		return st, err
	}
	st.store = store.New(st.driver, time.Now, log)
	st.projector = tree.NewProjector(st.index, st.driver, log)
	st.adopter = adopt.New(st.index, st.driver, time.Now, log)
	return st, nil
}

// close releases what is open, in the order opposite to opening.
func (st *storage) close() {
	if st.db != nil {
		st.db.Close()
	}
	if st.driver != nil {
		st.driver.Close()
	}
	if st.temporary && st.dataDir != "" {
		os.RemoveAll(st.dataDir)
	}
}

// secret returns http.secret, or one that is made at the first start and kept.
func (s *server) secret() ([]byte, error) {
	if s.cfg.HTTP.Secret != "" {
		return []byte(string(s.cfg.HTTP.Secret)), nil
	}
	path := filepath.Join(s.dataDir, "secret")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b = make([]byte, 32)
		rand.Read(b)
		return b, durable.WriteFile(path, b, 0o600)
	case err != nil:
		return nil, fmt.Errorf("read the secret of upload URLs: %w", err)
	case len(b) < 32:
		return nil, fmt.Errorf("%s is damaged: remove it, and uploads under way start over", path)
	}
	return b, nil
}
