//! Gives memory that was freed back to the system. glibc keeps it: what lies below anything still in use is never
//! returned by itself, and reading a configuration of 100,000 points leaves 300 MB of holes behind. Another allocator
//! would return it too (jemalloc, mimalloc were tried); each costs a C library and minutes of build for one call.

/// Returns every free page of the heap to the system. It walks the whole heap: for once after a large piece of work,
/// away from anything that must be in time. Where the C library is not glibc, it returns pages by itself, and
/// nothing is done here.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes a number, touches free memory alone, and locks each arena itself (malloc_trim(3):
    // MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
