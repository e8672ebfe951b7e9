//! Overlay pictures.
