//! One file per behaviour area.
