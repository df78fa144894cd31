// What is imported here is deployed.
import './hello/actions/greet.js';
import './hello/syncs/people.js';
