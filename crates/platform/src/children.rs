//! Executions that other executions started: how deep, and how many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_types::ExecutionId;

/// Actions that may call one another in a chain.
pub(crate) const DEPTH_MAX: u32 = 5;

/// Actions that one attempt may have under way at the same time.
pub(crate) const AT_ONCE_MAX: u32 = 20;

/// Kept in memory: a parent waits for its children, so what is under way is known to the server that runs it.
/// After a restart the parent's next attempt starts its children anew, from the depth that it then has.
#[derive(Clone, Default)]
pub(crate) struct Children {
    known: Arc<Mutex<HashMap<ExecutionId, Node>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    depth: u32,
    children: u32,
}

/// A parent's permission to have one more child; given back when dropped.
pub(crate) struct Permit {
    children: Children,
    parent: ExecutionId,
    child: Option<ExecutionId>,
    depth: u32,
}

impl Children {
    /// Allows one more child of `parent`, or says which bound stands against it.
    pub(crate) fn admit(&self, parent: &ExecutionId) -> Result<Permit, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let node = known.get(parent).copied().unwrap_or_default();
        if node.depth >= DEPTH_MAX {
            return Err(format!("actions may call one another {DEPTH_MAX} deep"));
        }
        if node.children >= AT_ONCE_MAX {
            return Err(format!(
                "an execution may have {AT_ONCE_MAX} actions under way at the same time"
            ));
        }
        known.entry(parent.clone()).or_default().children += 1;
        drop(known);
        Ok(Permit {
            children: self.clone(),
            parent: parent.clone(),
            child: None,
            depth: node.depth + 1,
        })
    }
}

impl Permit {
    /// Notes which execution the child is, so that its own children count from its depth.
    pub(crate) fn is(&mut self, child: &ExecutionId) {
        let mut known = self.children.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(child.clone()).or_default().depth = self.depth;
        drop(known);
        self.child = Some(child.clone());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut known = self.children.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = &self.child {
            known.remove(child);
        }
        let Some(node) = known.get_mut(&self.parent) else { return };
        node.children = node.children.saturating_sub(1);
        if node.children == 0 && node.depth == 0 {
            known.remove(&self.parent);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    fn exe(text: &str) -> ExecutionId {
        ExecutionId::parse(text).unwrap()
    }

    #[test]
    fn chains_and_fans_are_bounded_and_nothing_is_left() {
        let children = Children::default();
        let mut chain = Vec::new();
        for depth in 0..DEPTH_MAX {
            let mut permit = children.admit(&exe(&format!("e{depth}"))).unwrap();
            permit.is(&exe(&format!("e{}", depth + 1)));
            chain.push(permit);
        }
        assert!(children.admit(&exe(&format!("e{DEPTH_MAX}"))).is_err());
        drop(chain);
        let fan: Vec<_> = (0..AT_ONCE_MAX).map(|_| children.admit(&exe("e0")).unwrap()).collect();
        assert!(children.admit(&exe("e0")).is_err());
        assert!(children.admit(&exe("other")).is_ok());
        drop(fan);
        assert!(children.known.lock().unwrap().is_empty());
    }
}
