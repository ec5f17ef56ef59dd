package s3

import (
	"context"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"gatehouse/registry/driver"
)

// List is driver.Driver's: a request for each 1000 entries. Names of parts are yielded as the temporary ones that they are.
//
// S3 sorts by key, where a folder's name has "/" at its end: "a-b" and "a.b" come before "a/". Entries are held back until no
// folder can come that belongs before them, at worst to the end of the listing: for "v1.0" until what is behind "v1/".
func (d *Driver) List(ctx context.Context, path string) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		err := d.beginFolder(ctx, "list", path)
		if err == nil {
			o := order{yield: func(e driver.Entry) bool {
				if err = ctx.Err(); err != nil {
					return false
				}
				return yield(e, nil)
			}}
			if listErr := d.list(ctx, path, &o); err == nil {
				err = listErr
			}
			if o.stopped && err == nil {
				return
			}
		}
		if err != nil {
			yield(driver.Entry{}, err)
		}
	}
}

func (d *Driver) list(ctx context.Context, path string, o *order) error {
	prefix := d.below(path)
	pages := s3.NewListObjectsV2Paginator(d.client, &s3.ListObjectsV2Input{Bucket: &d.bucket, Prefix: &prefix, Delimiter: aws.String("/")})
	found := path == "."
	for pages.HasMorePages() {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := pages.NextPage(context.WithoutCancel(ctx))
		if err != nil {
			return d.explain("list", path, err)
		}
		names := make([]string, 0, len(page.Contents)+len(page.CommonPrefixes)) // folders end in "/"
		for _, c := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(c.Key), prefix))
		}
		for _, c := range page.CommonPrefixes {
			names = append(names, strings.TrimPrefix(aws.ToString(c.Prefix), prefix))
		}
		slices.Sort(names)
		found = found || len(names) > 0
		for _, name := range names {
			if !o.add(name) {
				return nil
			}
		}
	}
	if !found {
		return &fs.PathError{Op: "list", Path: path, Err: fs.ErrNotExist}
	}
	o.end()
	return nil
}

// order turns the order of keys into that of names.
type order struct {
	yield   func(driver.Entry) bool
	stopped bool
	held    []driver.Entry // in order of names
}

// add takes the next name, of which a folder's ends in "/", and reports whether to go on.
func (o *order) add(key string) bool {
	name, dir := strings.CutSuffix(key, "/")
	for len(o.held) > 0 && release(o.held[0].Name) < key {
		if !o.next() {
			return false
		}
	}
	if !driver.ValidPath(name) { // such as the empty one of the folder's own object
		return true
	}
	e := driver.Entry{Name: name, Dir: dir}
	i, found := slices.BinarySearchFunc(o.held, e, func(a, b driver.Entry) int { return strings.Compare(a.Name, b.Name) })
	if !found {
		o.held = slices.Insert(o.held, i, e)
	}
	return true
}

// end yields what is left.
func (o *order) end() {
	for len(o.held) > 0 && o.next() {
	}
}

func (o *order) next() bool {
	e := o.held[0]
	o.held = o.held[1:]
	o.stopped = !o.yield(e)
	return !o.stopped
}

// release is the last key that can be a folder's which belongs before name: that of its shortest part that is followed by a
// character before "/". Behind it nothing comes that belongs before name.
func release(name string) string {
	for i := 1; i < len(name); i++ {
		if name[i] < '/' {
			return name[:i] + "/"
		}
	}
	return name
}
