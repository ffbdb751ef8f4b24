//! The `scopediffusion` plugin.
