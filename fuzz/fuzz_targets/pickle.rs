#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdiff_fuzz::pickle(data));
