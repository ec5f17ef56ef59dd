package gc

// Batch is how many items a step of a cycle is about.
const Batch = batch
