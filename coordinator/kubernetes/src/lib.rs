//! What Drydock asks of Kubernetes clusters, and how it judges the answers. Knows nothing of runs and plans.
//!
//! | module | what lives there |
//! |---|---|
//! | [`api`] | one request to a cluster and its answer; a watch |

pub mod api;
