//! The C boundary to Node.js: three functions, registered by hand.
#![allow(unsafe_code, reason = "Node-API is a C interface")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use bulkhead_guest::serve;
use bulkhead_guest::stages::Plainly;
use napi_sys as sys;

unsafe extern "C" {
    /// libuv's, exported by the node binary: rebuilds epoll, signal pipe and async handles after a fork.
    fn uv_loop_fork(event_loop: *mut c_void) -> c_int;
}

type Value = sys::napi_value;

/// Called by Node.js when the addon is loaded.
///
/// # Safety
/// Only Node.js calls it, with a live environment and an exports object.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn napi_register_module_v1(
    env: sys::napi_env,
    exports: Value,
) -> Value {
    for (name, function) in [
        (c"serve", js_serve as unsafe extern "C" fn(_, _) -> _),
        (c"failed", js_failed),
        (c"exit", js_exit),
        (c"pid", js_pid),
    ] {
        // SAFETY: env and exports are those that Node.js has just passed in; name is a C string that lives on.
        unsafe { define(env, exports, name, function) };
    }
    exports
}

unsafe fn define(
    env: sys::napi_env,
    exports: Value,
    name: &CStr,
    function: unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> Value,
) {
    let mut value = ptr::null_mut();
    // SAFETY: the caller passes a live environment; the out-pointer is to a live local; a failed call leaves null,
    // which the property then refuses, and the harness stops at the missing function.
    unsafe {
        sys::napi_create_function(
            env,
            name.as_ptr(),
            -1,
            Some(function),
            ptr::null_mut(),
            &raw mut value,
        );
        sys::napi_set_named_property(env, exports, name.as_ptr(), value);
    }
}

/// `serve() -> {stream, scratch}`
unsafe extern "C" fn js_serve(env: sys::napi_env, _: sys::napi_callback_info) -> Value {
    let child = match serve::serve(&Plainly) {
        Ok(child) => child,
        Err(message) => serve::failed("serve".to_owned(), message),
    };
    let mut event_loop: *mut c_void = ptr::null_mut();
    // SAFETY: env is live: Node.js called this function with it, and the fork copied all of it.
    let got = unsafe { sys::napi_get_uv_event_loop(env, (&raw mut event_loop).cast()) };
    // SAFETY: the loop is the environment's own; no handle of it is in use, as this is the only thread of a
    // process that was just forked from inside this very call.
    if got != sys::Status::napi_ok || unsafe { uv_loop_fork(event_loop) } != 0 {
        bulkhead_guest::exit_now(70);
    }
    // SAFETY: env is live; every out-pointer is to a live local; the string is passed with its length.
    unsafe {
        let (mut object, mut stream, mut scratch) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        sys::napi_create_object(env, &raw mut object);
        sys::napi_create_int32(env, child.stream, &raw mut stream);
        let length = isize::try_from(child.scratch.len()).unwrap_or(0);
        sys::napi_create_string_utf8(env, child.scratch.as_ptr().cast(), length, &raw mut scratch);
        sys::napi_set_named_property(env, object, c"stream".as_ptr(), stream);
        sys::napi_set_named_property(env, object, c"scratch".as_ptr(), scratch);
        object
    }
}

/// `failed(stage, message)`
unsafe extern "C" fn js_failed(env: sys::napi_env, info: sys::napi_callback_info) -> Value {
    // SAFETY: env and info are those of this call.
    let [stage, message] = unsafe { arguments(env, info) };
    // SAFETY: env is live and both are values of this call, or null, which reads as an error.
    let (stage, message) = unsafe { (text(env, stage), text(env, message)) };
    serve::failed(stage, message)
}

/// `exit(status)`
unsafe extern "C" fn js_exit(env: sys::napi_env, info: sys::napi_callback_info) -> Value {
    let mut status = 0;
    // SAFETY: env and info are those of this call; what is no number leaves the 0.
    unsafe {
        let [value, _] = arguments(env, info);
        sys::napi_get_value_int32(env, value, &raw mut status);
    }
    bulkhead_guest::exit_now(status)
}

/// `pid() -> number`: Node.js caches `process.pid`, which is the zygote's in a fork.
unsafe extern "C" fn js_pid(env: sys::napi_env, _: sys::napi_callback_info) -> Value {
    let mut value = ptr::null_mut();
    // SAFETY: env is live; the out-pointer is to a live local.
    unsafe { sys::napi_create_uint32(env, std::process::id(), &raw mut value) };
    value
}

unsafe fn arguments(env: sys::napi_env, info: sys::napi_callback_info) -> [Value; 2] {
    let mut values = [ptr::null_mut(); 2];
    let mut count = values.len();
    // SAFETY: count says how many values there is room for; Node.js fills missing ones with undefined.
    unsafe {
        sys::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            values.as_mut_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
        );
    }
    values
}

/// A string of at most 64 KiB; anything else is told as such.
unsafe fn text(env: sys::napi_env, value: Value) -> String {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut length = 0;
    // SAFETY: the buffer has the length that is passed along; Node.js writes at most that much.
    let got = unsafe {
        let start = buffer.as_mut_ptr().cast::<c_char>();
        sys::napi_get_value_string_utf8(env, value, start, buffer.len(), &raw mut length)
    };
    if got != sys::Status::napi_ok {
        return "(not a string)".to_owned();
    }
    buffer.truncate(length);
    CString::new(buffer)
        .map_or_else(|_| "(a string with NUL)".to_owned(), |s| s.to_string_lossy().into_owned())
}
