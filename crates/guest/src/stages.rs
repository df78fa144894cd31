//! Privileged sequences: stages with names, carried out one after the other. The first that fails ends its sequence and is
//! told by its name; none is skipped.
//!
//! Who carries a stage out is passed in, so that a test can make each of them fail in turn in a real guest, and look at what
//! becomes of it. What runs in compartments has [`Plainly`]: no setting, no feature and no message chooses another.

use std::io;

use bulkhead_protocol::GuestError;

/// What is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// A virtual machine, by its first program.
    Machine,
    /// Process 1, by itself, before its first word.
    Guest,
    /// A zygote, before its program runs.
    Zygote,
    /// A sandbox, by itself, before the first line of tenant code in it.
    Sandbox,
    /// The same, by process 1.
    Placing,
    /// A slot that is to be as new, by a helper of process 1.
    Reclaim,
}

/// Carries stages out.
pub trait Stages {
    /// Carries out `act`, which is the stage of this name.
    ///
    /// # Errors
    /// Then it counts as failed.
    fn carry_out(
        &self,
        sequence: Sequence,
        name: &'static str,
        act: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()>;
}

/// Just does it.
#[derive(Debug, Clone, Copy)]
pub struct Plainly;

impl Stages for Plainly {
    fn carry_out(
        &self,
        _: Sequence,
        _: &'static str,
        act: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        act()
    }
}

/// A sequence on its way.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) by: &'a dyn Stages,
    pub(crate) sequence: Sequence,
}

impl Run<'_> {
    /// The next stage.
    pub(crate) fn stage(
        &self,
        name: &'static str,
        mut act: impl FnMut() -> io::Result<()>,
    ) -> Result<(), GuestError> {
        let done = self.by.carry_out(self.sequence, name, &mut act);
        done.map_err(|error| GuestError { stage: name.to_owned(), message: error.to_string() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Carries nothing out, notes what it was asked to, and fails once.
    struct Recorder {
        names: RefCell<Vec<&'static str>>,
        at: usize,
    }

    impl Stages for Recorder {
        fn carry_out(
            &self,
            _: Sequence,
            name: &'static str,
            _: &mut dyn FnMut() -> io::Result<()>,
        ) -> io::Result<()> {
            self.names.borrow_mut().push(name);
            let failed = self.names.borrow().len() == self.at + 1;
            if failed { Err(io::Error::other("planted")) } else { Ok(()) }
        }
    }

    /// The names of a sequence's stages, after each of them has been made to fail: it was told by its name, and none came
    /// after it.
    pub(crate) fn each_that_fails_is_the_last(
        sequence: impl Fn(&dyn Stages) -> Result<(), GuestError>,
    ) -> Vec<&'static str> {
        let run = |at| {
            let recorder = Recorder { names: RefCell::default(), at };
            let ended = sequence(&recorder);
            (recorder.names.into_inner(), ended)
        };
        let (all, ended) = run(usize::MAX - 1);
        assert_eq!(ended, Ok(()), "nothing was planted");
        for (at, name) in all.iter().enumerate() {
            let (names, ended) = run(at);
            let planted = GuestError { stage: (*name).to_owned(), message: "planted".to_owned() };
            assert_eq!((names.as_slice(), ended), (&all[..=at], Err(planted)));
        }
        all
    }
}
