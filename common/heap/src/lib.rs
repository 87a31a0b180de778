//! Keeps the heap small, as far as the C library must be told to. glibc never returns what lies below anything still in
//! use, and gives nearly every thread a heap of its own: reading a configuration of 100,000 points leaves 300 MB of
//! holes behind, and each burst some more. Other allocators would return them (jemalloc and mimalloc were tried);
//! each costs a C library, and jemalloc minutes of build, for what two calls do. Where the C library is not glibc,
//! nothing is done here.

/// What is at least as large, bytes, gets pages of its own, which go back when it is freed and need not be wiped when
/// they come. What is made and freed many times a second is hardly ever as large. It is 65,536 machine words: sled has forty
/// tables of just that size, of which it touches a few pages; in the heap they are some 6 MB.
#[cfg(target_env = "gnu")]
const OWN_PAGES: i32 = if size_of::<usize>() == 8 { 1 << 19 } else { 1 << 18 };

/// Sets bounds that must stand before other threads do: for the first line of `main`. `heaps` is how many the program may
/// have: more hold more holes, fewer have threads wait that allocate at the same time.
pub fn bound(heaps: usize) {
    #[cfg(not(target_env = "gnu"))]
    let _ = heaps;
    #[cfg(target_env = "gnu")]
    let heaps = i32::try_from(heaps).unwrap_or(i32::MAX).max(1);
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two numbers and may be called at any time (mallopt(3): MT-Unsafe only before the first
    // allocation by several threads, and there are none yet). A bound that is refused leaves what was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, heaps);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
    }
}

/// Returns every free page of the heap to the system. It walks the whole heap: for once after a large piece of work,
/// away from anything that must be in time.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes a number, touches free memory alone, and locks each heap itself (malloc_trim(3):
    // MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}
