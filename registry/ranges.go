package registry

import (
	"fmt"
	"net/http"
	"strings"
)

// settleRange sees to the ranges that net/http answers with a part that ends before it begins, "bytes 5-4/5": the last no bytes
// of a blob, and any suffix of an empty one. RFC 9110 section 14.1.2 calls the first unsatisfiable. What the client did not ask
// for alone, or on a condition, it may get whole (section 14.2).
func settleRange(r *http.Request, size int64) error {
	header := r.Header.Get("Range")
	set, ok := strings.CutPrefix(header, "bytes=")
	switch {
	case !ok:
	case size == 0:
		r.Header.Del("Range")
	case !strings.Contains(set, ",") && r.Header.Get("If-Range") == "":
		if noBytes(set) {
			return problem(codeRangeInvalid, "the last 0 bytes are no range").with("Content-Range", fmt.Sprintf("bytes */%d", size))
		}
	default:
		for spec := range strings.SplitSeq(set, ",") {
			if noBytes(spec) {
				r.Header.Del("Range")
			}
		}
	}
	return nil
}

// noBytes reports whether a range is a suffix of no bytes, in any spelling that net/http takes.
func noBytes(spec string) bool {
	digits, ok := strings.CutPrefix(strings.TrimSpace(spec), "-")
	digits = strings.TrimPrefix(strings.TrimSpace(digits), "+")
	return ok && digits != "" && strings.Trim(digits, "0") == ""
}
