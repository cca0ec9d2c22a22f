//! Tables for the planner.
