package model

import "strings"

// Protection is something in the real code without which the protocol would be broken. The zero value is all of them.
type Protection uint32

// The protections. A set of them is what is switched off.
const (
	Tickets           Protection = 1 << iota // tx.store refuses bytes that were written before a deletion
	Tombstones                               // Deleted leaves one, for as long as a ticket lasts, twice
	HeadPromise                              // Index.Promise renews what is stale
	UploadPromise                            // tx.linkAt and tx.addManifest renew the promise of what is there
	PushPromise                              // collectManifest spares what was pushed a moment ago
	NeedAgain                                // collectLink and collectManifest look at the queue and at the need again
	HoldersAgain                             // tx.mark looks at the queue, the state and the holders again
	OutboxWait                               // tx.mark waits for the tree
	EventFirst                               // the event of what lets go comes before the number of what it condemns
	MarkFirst                                // bytes are deleted after the transaction that marks them
	BytesFirst                               // the record goes after the bytes
	Completeness                             // PutManifest looks for all that a manifest needs
	Durable                                  // bytes are durable before they are named
	Settling                                 // after a lost answer a deletion is repeated later
	NoRetries                                // one call of Store.Delete asks the backend once
	ErrorsOfIndex                            // an error while reading what needs what is not "nothing"
	ErrorsOfStore                            // an error of Store.Delete is not "it is gone"
	Exclusion                                // one collector at a time
	StrayGrace                               // strays wait for grace before the quarantine
	StrayQuarantine                          // strays are condemned, not deleted
	OrphanScan                               // strays are found
	Revival                                  // tx.store makes condemned bytes live again
	PromisesNotMTimes                        // ages are those of promises and of need, not those of the bytes
	ReaderTime                               // tx.since: what the collector let go of waits for the quarantine
	protections
)

// protectionNames are the names, in the order of their bits.
var protectionNames = []string{
	"ticket check in store()", "tombstones", "promise on HEAD", "promise renewed by upload", "push is a promise",
	"re-check of need", "re-check before mark", "wait for the outbox", "event before number", "mark before delete",
	"bytes before record", "completeness of PutManifest", "fsync before index", "settling of late deletes",
	"no retries inside a delete", "errors of the index", "errors of the store", "exclusion of collectors", "grace of strays",
	"quarantine of strays", "orphan scan", "revival of condemned", "promises, not mtimes", "readers' time",
}

// String names the protections.
func (p Protection) String() string {
	var names []string
	for i, name := range protectionNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}
