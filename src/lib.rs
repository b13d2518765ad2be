//! credreset.
