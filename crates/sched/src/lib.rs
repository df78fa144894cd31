//! The deciding code: pick, settle, expire, schedule. Pure..
