package adopt

// The kinds of findings: what can be odd in a tree. What is served is served as distribution did; what cannot be is named here.
const (
	// Served, all but the foreign.
	KindForeign    = "foreign"    // a file or folder that is no part of the layout
	KindTemporary  = "temporary"  // a write that a crash cut short
	KindWhitespace = "whitespace" // a link with white space around its digest, which distribution does not read
	KindSignatures = "signatures" // what docker 1.9 and older signed
	KindSparse     = "sparse"     // an index of which the repository does not have all manifests; it is served
	KindIncomplete = "incomplete" // a manifest of which the repository does not have all blobs; it is served, and not harmless

	// Repaired by reading: the path says what the link should.
	KindEmptyLink = "empty link" // a link of 0 bytes
	KindBadLink   = "bad link"   // a link that holds no digest, or another one than its path

	// Not served.
	KindMissing     = "missing"     // a link to bytes that are not there
	KindDamaged     = "damaged"     // a manifest whose bytes are not its digest's
	KindSchema1     = "schema1"     // a manifest of docker 1.9 and older
	KindUnreadable  = "unreadable"  // a manifest of an unknown type, or too large
	KindNoTarget    = "no target"   // a tag that points to nothing
	KindUnknownName = "unservable"  // a folder or tag whose name the API does not allow
	KindTarsum      = "tarsum blob" // bytes under a digest algorithm that is not served
)

// Harmless reports whether a finding of a kind takes nothing away from what is served, and needs no repair.
func Harmless(kind string) bool {
	switch kind {
	case KindForeign, KindTemporary, KindSparse, KindSignatures, KindUnknownName, KindTarsum, KindSchema1:
		return true
	}
	return false
}
