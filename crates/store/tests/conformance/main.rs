//! One suite over every implementation of `Store`. Each case gets a fresh, empty store of each kind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::cloned_ref_to_slice_refs, reason = "an expected list reads best as a list")]

mod alike;
mod checkpoints;
mod fairness;
mod gates;
mod gates_model;
mod leases;
mod life;
mod looking;
mod schedules;
mod world;

/// Makes a test per store out of each case.
macro_rules! cases {
    ($($(#[$attr:meta])* async fn $name:ident($world:ident: $ty:ty) $body:block)*) => {
        $(
            async fn $name($world: $ty) $body
        )*
        mod mem {
            $(
                $(#[$attr])*
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::world::World::in_memory()).await;
                }
            )*
        }
        mod sqlite {
            $(
                $(#[$attr])*
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::world::World::on_sqlite()).await;
                }
            )*
        }
        mod postgres {
            $(
                $(#[$attr])*
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::world::World::on_postgres().await).await;
                }
            )*
        }
    };
}
pub(crate) use cases;
