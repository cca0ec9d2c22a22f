//! The drain against a cluster in memory, in virtual time.
//!
//! | module | what is told there |
//! |---|---|
//! | `scene` | a cluster of three nodes, and an order for the first |
//! | `leaves` | who goes, who stays, in which order, with how many requests |
//! | `budgets` | budgets that allow, do not, will never; conflicts, throttling |
//! | `faults` | endpoints that hang, die, start; watches that end |
//! | `others` | people and programs that do something meanwhile |
//! | `cordons` | our mark, and whose cordon is taken back |
//! | `replacements` | what `waitForReplacements` waits for, over all orders of a run |
//! | `in_order` | of that, StatefulSets whose pods wait for each other |
//! | `forced` | pods that are deleted because somebody has said so |
//! | `foreseen` | what is found before anything is touched |

mod budgets;
mod cordons;
mod faults;
mod forced;
mod foreseen;
mod in_order;
mod leaves;
mod others;
mod replacements;
mod scene;
