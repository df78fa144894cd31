// What is imported here is deployed.
import './board/syncs/cards.js';
import './calendar/actions/create-event.js';
import './calendar/on-events/connected.js';
import './calendar/syncs/events.js';
import './crm/actions/create-contact.js';
import './crm/syncs/contacts.js';
import './directory/syncs/users.js';
import './drive/actions/download-file.js';
import './forge/syncs/issues.js';
import './metrics/actions/export-series.js';
import './notes/syncs/pages.js';
import './reports/actions/run-report.js';
import './shop/syncs/orders.js';
import './shop/webhooks/uninstalled.js';
