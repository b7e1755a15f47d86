//! Switches that re-introduce known bugs, so that the simulator, the model checker and the tests can prove that they would have
//! caught them. The crate that has the bugs lists them with [`bugs!`].

/// Makes a crate's `Bug`, the bugs that can be re-introduced there, and `Bugs`, the set of those that are switched on.
///
/// The crate needs a feature `bugs`. Without it a `Bugs` is empty, has no size, and every test of it is the constant `false`:
/// the shipped program does not contain the bugs.
///
/// ```
/// switches::bugs! {
///     /// A failed write counts as done.
///     ErrorIgnored,
/// }
///
/// assert_eq!(Bug::ALL, [Bug::ErrorIgnored]);
/// assert!(!Bugs::NONE.has(Bug::ErrorIgnored));
/// ```
#[macro_export]
macro_rules! bugs {
    ($($(#[$about:meta])* $bug:ident),+ $(,)?) => {
        /// A bug that can be re-introduced.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[$about])* $bug,)+
        }

        impl Bug {
            /// Every bug, in order.
            pub const ALL: [Bug; [$(stringify!($bug)),+].len()] = [$(Bug::$bug),+];
        }

        const _: () = assert!(Bug::ALL.len() <= 32, "a bug is a bit of 32");

        /// The set of bugs that are switched on: always empty in the shipped program.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct Bugs {
            #[cfg(feature = "bugs")]
            bits: u32,
        }

        impl Bugs {
            /// No bug.
            pub const NONE: Bugs = Bugs {
                #[cfg(feature = "bugs")]
                bits: 0,
            };

            /// Just this one.
            #[cfg(feature = "bugs")]
            pub const fn only(bug: Bug) -> Bugs {
                Bugs { bits: 1 << bug as u32 }
            }

            /// Whether this bug is switched on.
            #[inline(always)]
            pub const fn has(self, bug: Bug) -> bool {
                #[cfg(feature = "bugs")]
                return self.bits & (1 << bug as u32) != 0;
                #[cfg(not(feature = "bugs"))]
                {
                    let _ = bug;
                    false
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    crate::bugs! {
        /// The first.
        First,
        /// The second.
        Second,
    }

    #[test]
    fn only_the_one_is_on() {
        let on = |bugs: Bugs| Bug::ALL.map(|bug| bugs.has(bug));
        assert_eq!(on(Bugs::NONE), [false, false]);
        assert_eq!(on(Bugs::default()), [false, false]);
        assert_eq!(on(Bugs::only(Bug::First)), [true, false]);
        assert_eq!(on(Bugs::only(Bug::Second)), [false, true]);
    }
}
