// Package planted names bugs that can be planted into the program, one at a time, to see that the tests find them: each is a
// promise of the registry with what keeps it taken away. Only a build with the tag bugs has any; in others On is a constant, and
// the compiler leaves nothing of them. Which one it is, the variable GATEHOUSE_BUG says.
//
// testbench/soak has the table of them, and which test finds which.
package planted

// Bug names a bug.
type Bug string

// The bugs.
const (
	NoPromise         Bug = "no-promise"          // HEAD of a blob does not renew its promise
	NoPromiseAgain    Bug = "no-promise-again"    // neither does a second upload or mount
	NeededLink        Bug = "needed-link"         // the collector takes links that came to be needed
	NeededManifest    Bug = "needed-manifest"     // the collector takes manifests that came to be needed
	NoRevival         Bug = "no-revival"          // what came to be needed stays condemned, and is deleted
	Incomplete        Bug = "incomplete"          // a manifest is taken whatever it names
	IndexFirst        Bug = "index-first"         // a blob is named before its bytes are there
	EventsDropped     Bug = "events-dropped"      // the tree does not follow
	GraceOver         Bug = "grace-over"          // what is let go of does not wait
	ReadersForgotten  Bug = "readers-forgotten"   // what a collected manifest needed does not wait
	ReferrersLeft     Bug = "referrers-left"      // a subject does not need what refers to it
	DeleteIgnored     Bug = "delete-ignored"      // a tag that was deleted stays
	WrongBytes        Bug = "wrong-bytes"         // bytes from memory are another digest's
	TicketUnchecked   Bug = "ticket-unchecked"    // bytes are entered that the collector deleted meanwhile
	TombstoneLost     Bug = "tombstone-lost"      // that bytes were deleted is forgotten at once
	DeleteFirst       Bug = "delete-first"        // bytes are deleted before they are marked
	NotResumed        Bug = "not-resumed"         // what a crash left half deleted stays so
	ErrorIsAbsence    Bug = "error-is-absence"    // bytes that could not be deleted are taken to be absent
	TreeNotWaitedFor  Bug = "tree-not-waited"     // bytes go before the links that lead to them
	Unlogged          Bug = "unlogged"            // bytes go without a line in the log
	LeftBehind        Bug = "left-behind"         // what nothing needs is forgotten
	NoManifestPromise Bug = "no-manifest-promise" // HEAD of a manifest does not renew its promise
)
