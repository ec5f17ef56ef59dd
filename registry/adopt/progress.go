package adopt

// Progress is how far the present pass over the tree is, in this process.
type Progress struct {
	Found   int   // repositories of the tree that the pass has come upon
	Counted bool  // the pass has come upon all of them
	Read    int   // those of them that are in the index
	Failure error // why the last pass did not reach its end, until the next one does or begins
}

// Progress returns how far the pass that is under way is, or how the last one ended.
func (a *Adopter) Progress() Progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.progress
}

// advance changes the progress.
func (a *Adopter) advance(change func(*Progress)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.progress)
}
