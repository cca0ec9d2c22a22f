//! Tables for the reducer.
