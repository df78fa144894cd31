// Functions that say which wall they want, for tests.
import './walls/actions/any.js';
import './walls/actions/apart.js';
import './walls/actions/gvisor.js';
