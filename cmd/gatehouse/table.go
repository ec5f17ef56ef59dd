package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"gatehouse/admin"
)

// table prints rows in aligned columns, some at a time: so a long list is shown while it comes.
type table struct {
	header []string
	w      *tabwriter.Writer
	rows   int
}

const rowsAtOnce = 100

func newTable(w io.Writer) *table { return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

// row prints a row, the header before the first. What could play tricks with a terminal is quoted.
func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		fmt.Fprintln(t.w, strings.Join(t.header, "\t"))
	}
	for i, cell := range cells {
		if strings.ContainsFunc(cell, func(r rune) bool { return !unicode.IsPrint(r) }) {
			cells[i] = strconv.QuoteToASCII(cell)
		}
		if cell == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	t.rows++
	if t.rows%rowsAtOnce == 0 {
		return t.w.Flush()
	}
	return nil
}

// list prints an answer in lines: as they are for JSON, else in the table that rows makes of them.
func (p *program) list(ctx context.Context, a *admin.Client, path string, asJSON bool, rows func(*table) func([]byte) error) error {
	t := newTable(p.stdout)
	each := rows(t)
	if asJSON {
		each = func(line []byte) error {
			_, err := fmt.Fprintf(p.stdout, "%s\n", line)
			return err
		}
	}
	err := a.Stream(ctx, http.MethodGet, path, nil, func(line json.RawMessage) error { return each(line) })
	if e := t.w.Flush(); err == nil {
		err = e
	}
	return err
}

// decoded makes a reader of lines of a function over what they hold.
func decoded[T any](each func(T) error) func([]byte) error {
	return func(line []byte) error {
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			return fmt.Errorf("the server's answer is not what was expected: %w", err)
		}
		return each(value)
	}
}

// byteSize is a number of bytes for people.
func byteSize(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < 3 {
		value, unit = value/(1<<10), unit+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + [...]string{"KiB", "MiB", "GiB", "TiB"}[unit]
}
