/** The module that a worker is started with: the demo's tools, its agent and its plan. */
export { clerk } from './clerk.ts'
export { listInvoices, matchToOrder, readInvoice, setInvoiceAside } from './invoice-tools.ts'
export { monthEnd } from './month-end.ts'
export { draftPayment, payLedger } from './payment-tools.ts'
