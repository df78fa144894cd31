//! Canaries: stores with one bug each. A checker that finds no canary would find no bug of ours either, so each
//! checker has one.
//!
//! They are here and not behind a switch in the product, so that no build of the product can have them.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// An outcome is taken whatever lease it comes with.
    FenceIgnored,
    /// A submit is answered and not kept, once in a while.
    SubmitLost,
    /// Leases of workers that renew end early.
    LeaseShort,
    /// A tenant gets one attempt more than it may have.
    LimitRaised,
    /// A function, connection or key gets one attempt more than it may have.
    GateRaised,
    /// A tenant that is paused goes on.
    PauseIgnored,
    /// A worker gets twice what it has room for.
    RoomDoubled,
    /// The last of a worker is given to whoever is next.
    HeadroomGiven,
    /// Idempotency keys are forgotten at once.
    KeyForgotten,
    /// What an attempt used is counted twice.
    UsageTwice,
    /// Some tenants weigh a hundred times what they should.
    Unfair,
    /// Time brings nothing about.
    TimeStands,
    /// A schedule that fired is due again in a year.
    ScheduleStuck,
    /// A checkpoint is saved whatever lease it comes with.
    CheckpointUnfenced,
    /// What is old is not forgotten.
    NothingForgotten,
}

impl Canary {
    /// Every canary.
    pub const ALL: [Self; 15] = [
        Self::FenceIgnored,
        Self::SubmitLost,
        Self::LeaseShort,
        Self::LimitRaised,
        Self::GateRaised,
        Self::PauseIgnored,
        Self::RoomDoubled,
        Self::HeadroomGiven,
        Self::KeyForgotten,
        Self::UsageTwice,
        Self::Unfair,
        Self::TimeStands,
        Self::ScheduleStuck,
        Self::CheckpointUnfenced,
        Self::NothingForgotten,
    ];

    /// As on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FenceIgnored => "fence-ignored",
            Self::SubmitLost => "submit-lost",
            Self::LeaseShort => "lease-short",
            Self::LimitRaised => "limit-raised",
            Self::GateRaised => "gate-raised",
            Self::PauseIgnored => "pause-ignored",
            Self::RoomDoubled => "room-doubled",
            Self::HeadroomGiven => "headroom-given",
            Self::KeyForgotten => "key-forgotten",
            Self::UsageTwice => "usage-twice",
            Self::Unfair => "unfair",
            Self::TimeStands => "time-stands",
            Self::ScheduleStuck => "schedule-stuck",
            Self::CheckpointUnfenced => "checkpoint-unfenced",
            Self::NothingForgotten => "nothing-forgotten",
        }
    }

    /// The checker whose canary it is.
    #[must_use]
    pub const fn found_by(self) -> &'static str {
        match self {
            Self::FenceIgnored | Self::LeaseShort | Self::CheckpointUnfenced => "leases",
            Self::SubmitLost | Self::TimeStands => "ends",
            Self::LimitRaised | Self::GateRaised | Self::PauseIgnored => "limits",
            Self::RoomDoubled | Self::HeadroomGiven => "room",
            Self::KeyForgotten => "idempotency",
            Self::UsageTwice => "usage",
            Self::Unfair => "fairness",
            Self::ScheduleStuck => "schedules",
            Self::NothingForgotten => "left",
        }
    }

    /// The canary that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canary| canary.as_str() == text)
    }
}
