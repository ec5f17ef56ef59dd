package etcd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gatehouse/configs"
	"gatehouse/durable"
)

// record is the file of the last good value.
type record struct {
	Key      string    `json:"key"`
	Revision int64     `json:"revision"`
	Saved    time.Time `json:"saved"`
	Value    string    `json:"value"` // as it is in etcd
	// SHA256 is over key, revision and value: a file that was edited or torn is not believed.
	SHA256 string `json:"sha256"`
}

func (r record) sum() string {
	h := sha256.New()
	for _, part := range []string{r.Key, strconv.FormatInt(r.Revision, 10), r.Value} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// saveRecord writes r to path, readable by the owner only. When it returns nil, r survives a power cut.
func saveRecord(path string, r record) error {
	r.SHA256 = r.sum()
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = durable.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(path, append(data, '\n'), 0o600)
	}
	return err
}

// loadRecord reads the last good value of key from path and validates it as if it came from etcd. The error is
// fs.ErrNotExist when nothing was saved.
func loadRecord(path, key string) (record, configs.Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return record{}, configs.Token{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8*maxValue)) // JSON makes at most six bytes of one
	if err != nil {
		return record{}, configs.Token{}, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, configs.Token{}, fmt.Errorf("could not read %s: %w", path, err)
	}
	switch {
	case r.SHA256 != r.sum():
		err = errors.New("its checksum is wrong")
	case r.Key != key:
		err = fmt.Errorf("it is for the key %.256q", r.Key)
	}
	if err != nil {
		return record{}, configs.Token{}, fmt.Errorf("could not use %s: %w", path, err)
	}
	t, _, err := parseToken([]byte(r.Value))
	if err != nil {
		return record{}, configs.Token{}, fmt.Errorf("could not use %s: %w", path, err)
	}
	return r, t, nil
}
