import './tracker/syncs/tasks.js';
import './tracker/syncs/members.js';
import './tracker/actions/create-task.js';
import './tracker/actions/delete-task.js';
import './tracker/on-events/greet.js';
import './ledger/syncs/invoices.js';
import './ledger/syncs/payments.js';
import './ledger/actions/close-period.js';
