//! Walls by name, in the order of their strength.

use serde::{Deserialize, Serialize};

/// A kind of wall. The order is that of strength: a floor is a least value.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum WallKind {
    /// Namespaces, cgroups, seccomp and Landlock of the host's kernel.
    #[default]
    Process,
    /// A kernel in user space between compartment and host.
    Gvisor,
    /// A virtual machine.
    Microvm,
}

impl WallKind {
    /// Every wall, the weakest first.
    pub const ALL: [Self; 3] = [Self::Process, Self::Gvisor, Self::Microvm];

    /// The stable text, as in settings, on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Gvisor => "gvisor",
            Self::Microvm => "microvm",
        }
    }

    /// The wall that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wall| wall.as_str() == text)
    }
}

/// Which wall holds when nobody asks for one, and which is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallRule {
    /// For functions that ask for none.
    pub usual: WallKind,
    /// Nothing runs behind less.
    pub floor: WallKind,
}

impl WallRule {
    /// The same with a tenant's floor, which can only raise it.
    #[must_use]
    pub fn with_floor(self, floor: Option<WallKind>) -> Self {
        Self { floor: self.floor.max(floor.unwrap_or_default()), ..self }
    }

    /// What a function gets that asks for `asked`. Who asks for less than the floor gets the floor.
    #[must_use]
    pub fn choose(self, asked: Option<WallKind>) -> WallKind {
        asked.unwrap_or(self.usual).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::WallKind::{Gvisor, Microvm, Process};
    use super::*;

    #[test]
    fn nobody_gets_less_than_the_floor_and_everybody_may_have_more() {
        let rule = WallRule { usual: Process, floor: Process };
        assert_eq!(rule.choose(None), Process);
        assert_eq!(rule.choose(Some(Microvm)), Microvm);
        let raised = rule.with_floor(Some(Gvisor));
        assert_eq!(raised.choose(None), Gvisor);
        assert_eq!(raised.choose(Some(Process)), Gvisor);
        assert_eq!(raised.choose(Some(Microvm)), Microvm);
        let server = WallRule { usual: Gvisor, floor: Gvisor };
        assert_eq!(server.with_floor(Some(Process)).choose(Some(Process)), Gvisor);
        assert_eq!(WallRule { usual: Gvisor, floor: Process }.choose(Some(Process)), Process);
    }

    #[test]
    fn each_name_names_its_wall() {
        for wall in WallKind::ALL {
            assert_eq!(WallKind::parse(wall.as_str()), Some(wall));
        }
        assert_eq!(WallKind::parse("paper"), None);
    }
}
