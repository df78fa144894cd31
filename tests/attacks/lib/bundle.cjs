// What every attack is deployed in: one CommonJS file, as the compiler would make. `ATTACK` stands for the file of the
// case, `NATIVE` for machine code where the case asks for it. The same file runs natively, as control.
'use strict';
const lib = (() => {
  'use strict';
  /*LIB*/
})();
lib.prepare('/*NATIVE*/');
const attack = ((exports) => {
  /*ATTACK*/
  return exports;
})({});
lib.loaded(attack);

const definition = {
  type: 'action',
  description: 'An attack of the audit',
  exec: (bulkhead, input) => lib.run(attack, bulkhead, input ?? {}),
};
module.exports = definition;
