//! A watch lives for hours between short bursts: memory that it does not need goes back at once.

use std::ffi::c_long;

/// `mi_option_purge_delay` of mimalloc 2 and 3 (`mimalloc.h`), which the crate has no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// At once.
const NOW: c_long = 0;

/// Lets the allocator keep no pages back for later.
pub(super) fn give_back_at_once() {
    #[expect(unsafe_code, reason = "the allocator is told by a C function, and only so")]
    // SAFETY: it writes one number in a table of the allocator, and may be called at any time.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, NOW);
    }
}
