#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdiff_core::fuzzing::safetensors_header(data));
