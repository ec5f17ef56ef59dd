package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// A record is what one commit has written. It begins at a multiple of pageBytes and is filled up with zeros to the next, so
// that no write ever touches a page with a record that was acknowledged. Numbers are little endian:
//
//	 0  magic, which is also the version of this format
//	 8  identity of the index
//	16  sequence: 1 for the first commit, and one more for each
//	24  length of the body
//	28  CRC-32C of bytes 0 to 28 and of the body
//	32  body: for each change in turn, a byte ('+' put, '-' delete), length of the key, key, and for a put length of the value,
//	    value. Lengths are unsigned varints.
//
// The identity is random and known to nobody outside, so that no value that somebody stores can look like a record.
const (
	recordMagic = "ghindex1"
	headBytes   = 32
	pageBytes   = 4096
	maxBody     = 1 << 30
	maxKey      = bbolt.MaxKeySize
	maxValue    = 64 << 20
)

var (
	errTooLarge  = fmt.Errorf("a key has more than %d bytes, or a value more than %d", maxKey, maxValue)
	errMalformed = errors.New("a record of the journal is whole, and cannot be read: it was written by another version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the head of a record.
type head struct {
	id, seq  uint64
	length   int64
	checksum uint32
}

// size is the place that the record takes.
func (h head) size() int64 { return pages(headBytes + h.length) }

// pages returns n, rounded up to whole pages.
func pages(n int64) int64 { return (n + pageBytes - 1) / pageBytes * pageBytes }

// encode writes a record into buf, which it may replace, and returns it, filled up with zeros.
func encode(buf []byte, id, seq uint64, changes []change) ([]byte, error) {
	b := append(buf[:0], make([]byte, headBytes)...)
	for _, c := range changes {
		if c.deleted {
			b = append(b, '-')
		} else {
			b = append(b, '+')
		}
		b = binary.AppendUvarint(b, uint64(len(c.key)))
		b = append(b, c.key...)
		if !c.deleted {
			b = binary.AppendUvarint(b, uint64(len(c.value)))
			b = append(b, c.value...)
		}
	}
	body := len(b) - headBytes
	if body > maxBody {
		return b, fmt.Errorf("transactions that were to be committed together write %d bytes, more than %d", body, maxBody)
	}
	le := binary.LittleEndian
	copy(b, recordMagic)
	le.PutUint64(b[8:], id)
	le.PutUint64(b[16:], seq)
	le.PutUint32(b[24:], uint32(body))
	le.PutUint32(b[28:], checksum(b, b[headBytes:]))
	return append(b, make([]byte, pages(int64(len(b)))-int64(len(b)))...), nil
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:28], castagnoli), castagnoli, body)
}

// decodeHead returns the head of a record, if b begins with one.
func decodeHead(b []byte) (h head, ok bool) {
	if len(b) < headBytes || string(b[:8]) != recordMagic {
		return h, false
	}
	le := binary.LittleEndian
	return head{le.Uint64(b[8:]), le.Uint64(b[16:]), int64(le.Uint32(b[24:])), le.Uint32(b[28:])}, true
}

// decode hands the changes in the body of a record to set. They do not refer to the body.
func decode(body []byte, set func(change)) error {
	field := func() (b []byte, ok bool) {
		n, width := binary.Uvarint(body)
		if width <= 0 || n > uint64(len(body)-width) {
			return nil, false
		}
		b = body[width : width+int(n)]
		body = body[width+int(n):]
		return b, true
	}
	for len(body) > 0 {
		kind := body[0]
		body = body[1:]
		key, ok := field()
		if !ok || len(key) == 0 || kind != '+' && kind != '-' {
			return errMalformed
		}
		c := change{string(key), write{deleted: kind == '-'}}
		if kind == '+' {
			value, ok := field()
			if !ok {
				return errMalformed
			}
			c.value = append([]byte{}, value...)
		}
		set(c)
	}
	return nil
}
