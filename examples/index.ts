// What is imported here is deployed.
import './demo/actions/echo.js';
import './demo/actions/break-out.js';
import './demo/syncs/items.js';
import './demo/webhooks/delivery.js';
import './bench/actions/churn.js';
import './bench/actions/noop.js';
import './bench/actions/sleep.js';
import './bench/actions/stall.js';
import './bench/syncs/checkpoints.js';
